import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { EXIT_RECORDS, exitMarkName, exitRecordName } from "@berth/core/shim-names";
import { systemErrorCode, wrapError } from "@berth/errors";

import type { ExitRecord } from "./define-shim.ts";

function recordPath(bundle: string, execId: string): string {
  return join(bundle, EXIT_RECORDS, exitRecordName(execId));
}

/** This writes the end of a process into the bundle, complete or not at all. A bundle that is gone needs no record. */
export function writeExitRecord(bundle: string, record: ExitRecord): void {
  const path = recordPath(bundle, record.execId);
  try {
    mkdirSync(join(bundle, EXIT_RECORDS), { mode: 0o700 });
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return;
    if (systemErrorCode(error) !== "EEXIST") throw wrapError(error, `record exit of ${record.id}`);
  }
  writeFileSync(`${path}.tmp`, JSON.stringify(record), { mode: 0o600 });
  renameSync(`${path}.tmp`, path);
}

/** This removes a record, and what the daemon noted beside it: thousands of execs must not fill the bundle. */
export function removeExitRecord(bundle: string, execId: string): void {
  rmSync(recordPath(bundle, execId), { force: true });
  rmSync(join(bundle, EXIT_RECORDS, exitMarkName(execId)), { force: true });
}

/** This reads what {@link writeExitRecord} wrote; `undefined` where the process has not ended, or nobody saw it. */
export function findExitRecord(bundle: string, execId = ""): ExitRecord | undefined {
  try {
    const parsed: unknown = JSON.parse(readFileSync(recordPath(bundle, execId), "utf8"));
    // written by this package, by rename; what else is there fails the checks below
    const { id, pid, exitStatus, exitedAt } = (parsed ?? {}) as Record<keyof ExitRecord, unknown>;
    if (typeof id !== "string" || typeof pid !== "number" || typeof exitStatus !== "number") return undefined;
    const date = new Date(String(exitedAt));
    return Number.isNaN(date.getTime()) ? undefined : { id, execId, pid, exitStatus, exitedAt: date };
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT" || error instanceof SyntaxError) return undefined;
    throw error;
  }
}
