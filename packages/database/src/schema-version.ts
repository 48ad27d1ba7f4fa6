import { failedPrecondition } from "@berth/errors";

/** @throws failed_precondition - the file at `path` was written by a newer version than the one that is `known` here */
export function checkSchemaVersion(path: string, found: number, known: number): void {
  if (found <= known) return;
  throw failedPrecondition(`${path} has schema version ${found}, this berth knows ${known}: use a newer one`);
}
