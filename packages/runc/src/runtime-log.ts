import { statSync } from "node:fs";

import { readFileEnd } from "./read-file-end.ts";

const READ_LIMIT = 1024 * 1024;

/** This returns how long a log is now, 0 where it is not there: what comes later is the next command's. */
export function logSize(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/** This returns the last error that a runtime wrote into its JSON log behind `offset`; `undefined` when there is none. */
export function lastLogError(path: string, offset = 0): string | undefined {
  return parseLastLogError(readFileEnd(path, { limit: READ_LIMIT, offset }));
}

/** This finds the last error in lines of a JSON log; lines that are no such objects are skipped. */
export function parseLastLogError(text: string): string | undefined {
  for (const line of text.split("\n").toReversed()) {
    const entry = parseLine(line);
    if (entry?.level === "error" && typeof entry.msg === "string") return entry.msg.trim();
  }
  return undefined;
}

function parseLine(line: string): { readonly level?: unknown; readonly msg?: unknown } | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}
