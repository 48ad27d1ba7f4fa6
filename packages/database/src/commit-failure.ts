import type { FileHandle } from "node:fs/promises";
import { statfs } from "node:fs/promises";

import { dataLoss, resourceExhausted, unavailable } from "@berth/errors";

/** Why a commit did not happen. */
export interface CommitFailure {
  readonly error: Error;
  /** The file cannot be trusted any more: what the kernel dropped after a failed fsync is not written by the next one. */
  readonly fatal: boolean;
}

/** The file of a database; `witness` is a descriptor of it that has been open since before its first write. */
export interface DatabaseFile {
  readonly path: string;
  readonly witness: FileHandle;
}

const EIO = 5;
const ENOSPC = 28;
const EDQUOT = 122;
const MDB_MAP_FULL = -30792;
/** What lmdb-js adds to the error of a write. */
const FAILED_WRITE = "Attempting to write page";
const FULL_CODES: ReadonlySet<unknown> = new Set([ENOSPC, EDQUOT, MDB_MAP_FULL]);
/** A disk with less is full for a commit. */
const FULL_BYTES = 1024 * 1024;

/** This tells a failed commit from an error thrown by the callback of a transaction: `undefined` for the latter. */
export async function commitFailure(error: unknown, file: DatabaseFile): Promise<CommitFailure | undefined> {
  if (!(error instanceof Error) || !("commitError" in error)) return undefined;
  const cause = await Promise.resolve(error.commitError).catch((reason: unknown) => reason);
  const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
  const text = cause instanceof Error ? cause.message : String(cause);
  const isTrusted = code !== EIO || (await isOnDisk(file));
  const freeBytes = code === EIO && isTrusted ? await findFreeBytes(file) : undefined;
  // LMDB says EIO too when a write came out short because the disk is full, which harms nothing.
  if (FULL_CODES.has(code) || (freeBytes !== undefined && freeBytes < FULL_BYTES))
    return { error: resourceExhausted(`write ${file.path}: no space left (${text})`, { cause }), fatal: false };
  // Nor does a write that failed: it was to pages that nothing leads to yet. By its words alone it differs from a failed fsync.
  if (freeBytes !== undefined && text.includes(FAILED_WRITE))
    return { error: dataLoss(`write ${file.path}: ${text}`, { cause }), fatal: false };
  return { error: unavailable(`write ${file.path}: ${text}`, { cause }), fatal: true };
}

/** Of a failed write-back the kernel tells every descriptor once: if there was one, the witness hears of it here. */
async function isOnDisk({ witness }: DatabaseFile): Promise<boolean> {
  try {
    await witness.datasync();
    return true;
  } catch {
    return false;
  }
}

/** A disk that does not even say how full it is cannot be trusted with more: `undefined`. */
async function findFreeBytes({ path }: DatabaseFile): Promise<number | undefined> {
  try {
    const { bavail, bsize } = await statfs(path);
    return bavail * bsize;
  } catch {
    return undefined;
  }
}
