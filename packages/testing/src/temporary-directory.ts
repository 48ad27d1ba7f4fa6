import { mkdtemp, rm, statfs } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const MEMORY = "/dev/shm";
const TMPFS_MAGIC = 0x01021994;
/** Containers often have 64 MiB of it. */
const ENOUGH_BYTES = 1 << 30;

/** A directory that is removed with everything in it when it is disposed. */
export interface TemporaryDirectory extends AsyncDisposable {
  readonly path: string;
}

/** This makes an empty directory `berth-<purpose>-…` below the system's temporary directory. */
export function temporaryDirectory(purpose: string): Promise<TemporaryDirectory> {
  return makeDirectory(tmpdir(), purpose);
}

/**
 * This makes an empty directory in memory, or a {@link temporaryDirectory} where there is not enough of it: for what syncs much and is not
 * about disks, so that it does not wait for what others write.
 */
export async function memoryDirectory(purpose: string): Promise<TemporaryDirectory> {
  const found = await statfs(MEMORY).catch(() => undefined);
  const isEnough = found?.type === TMPFS_MAGIC && found.bavail * found.bsize >= ENOUGH_BYTES;
  return makeDirectory(isEnough ? MEMORY : tmpdir(), purpose);
}

async function makeDirectory(parent: string, purpose: string): Promise<TemporaryDirectory> {
  const path = await mkdtemp(join(parent, `berth-${purpose}-`));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true, maxRetries: 5 }) };
}
