import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

import type { ExitStatus } from "@berth/core/runtime";
import { EXIT_RECORDS, exitMarkName, exitRecordName } from "@berth/core/shim-names";
import { ignoreNotFound } from "@berth/errors";
import { z } from "zod";

import type { Bundle } from "./bundle.ts";

/** How a process ended, as berth's shim leaves it in the bundle before it tells anybody. */
export interface ExitRecord extends ExitStatus {
  /** Empty for the init process. */
  readonly execId: string;
  /** Whether the exit event is known to have been published. */
  readonly sent: boolean;
}

const uint32 = z.number().int().min(0).max(0xffffffff);
const recordJson = z.object({
  id: z.string(),
  execId: z.string().regex(/^[^/\0]*$/),
  pid: uint32,
  exitStatus: uint32,
  exitedAt: z.iso.datetime({ offset: true }),
});

/** This reads one record; `undefined` for text that is none. */
export function parseExitRecord(text: string): Omit<ExitRecord, "sent"> | undefined {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return undefined;
  }
  const { data } = recordJson.safeParse(json);
  if (data === undefined) return undefined;
  const { execId, pid, exitStatus, exitedAt } = data;
  return { execId, pid, exitStatus, exitedAtNs: BigInt(Date.parse(exitedAt)) * 1_000_000n };
}

/** This reads the records of a bundle; none for a shim that writes none. */
export async function readExitRecords(bundle: Bundle): Promise<readonly ExitRecord[]> {
  const directory = join(bundle.path, EXIT_RECORDS);
  const names = (await readdir(directory).catch(ignoreNotFound)) ?? [];
  const records: ExitRecord[] = [];
  for (const name of names.filter((each) => each.endsWith(".json"))) {
    const record = parseExitRecord(await readFile(join(directory, name), "utf8"));
    if (record !== undefined) records.push({ ...record, sent: names.includes(exitMarkName(record.execId)) });
  }
  return records;
}

/**
 * This notes that the exit event of a process was published, for later daemons; a bundle that is gone needs no note, and neither does
 * an exec that its shim keeps no record of, or no longer: it may have been deleted before its exit was heard of.
 *
 * @throws invalid_argument - the id is no part of a file's name
 */
export function markExitSent(bundle: Bundle, execId: string): void {
  const directory = join(bundle.path, EXIT_RECORDS);
  if (execId !== "") return markExecExitSent(directory, execId);
  try {
    // Only berth's shim makes it by itself.
    if (!existsSync(directory)) mkdirSync(directory, { mode: 0o700 });
    writeFileSync(join(directory, exitMarkName(execId)), "");
  } catch (error) {
    ignoreNotFound(error);
  }
}

function markExecExitSent(directory: string, execId: string): void {
  const record = join(directory, exitRecordName(execId));
  const mark = join(directory, exitMarkName(execId));
  if (!existsSync(record)) return;
  try {
    writeFileSync(mark, "");
  } catch (error) {
    ignoreNotFound(error);
  }
  // The shim removes first the record, then the mark: a mark that comes later is this function's to remove.
  if (!existsSync(record)) rmSync(mark, { force: true });
}

/** This tells whether the exit of init was published, by this daemon or an earlier one. */
export function isInitExitSent(bundle: Bundle): boolean {
  return existsSync(join(bundle.path, EXIT_RECORDS, exitMarkName("")));
}
