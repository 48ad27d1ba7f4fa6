import { resourceExhausted, unavailable } from "@berth/errors";

/** Why a commit did not happen. */
export interface CommitFailure {
  readonly error: Error;
  /** The file cannot be trusted any more: what the kernel dropped after a failed fsync is not written by the next one. */
  readonly fatal: boolean;
}

const ENOSPC = 28;
const EDQUOT = 122;
const MDB_MAP_FULL = -30792;

/** This tells a failed commit from an error thrown by the callback of a transaction: `undefined` for the latter. */
export async function commitFailure(error: unknown): Promise<CommitFailure | undefined> {
  if (!(error instanceof Error) || !("commitError" in error)) return undefined;
  const cause = await Promise.resolve(error.commitError).catch((reason: unknown) => reason);
  const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
  const text = cause instanceof Error ? cause.message : String(cause);
  if (code === ENOSPC || code === EDQUOT || code === MDB_MAP_FULL) {
    return { error: resourceExhausted(`write metadata database: ${text}`, { cause }), fatal: false };
  }
  return { error: unavailable(`write metadata database: ${text}`, { cause }), fatal: true };
}
