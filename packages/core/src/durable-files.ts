import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";

import { makeDirectories } from "./make-directories.ts";

/** This puts the bytes of a file on disk that another program has written. Its name is not: see {@link syncDirectory}. */
export async function syncFile(path: string): Promise<void> {
  await using file = await open(path, "r+");
  await file.sync();
}

/** This puts the entries of a directory on disk: names that were added, replaced or removed before the call. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, "r");
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** This makes a directory and its missing parents, mode 0755, and puts the new names on disk. */
export async function makeDirectoryDurably(path: string): Promise<void> {
  const first = await makeDirectories(path, 0o755);
  if (first === undefined) return;
  const above = dirname(first);
  for (let current = path; current !== above; current = dirname(current)) await syncDirectory(dirname(current));
}

/**
 * This gives a file, whose bytes were put on disk before (`FileHandle.sync`), its final name.
 * When it resolves, a crash leaves the file complete at `to`; before, either there or at `from`. Both must be on one file system.
 *
 * When it throws after the rename, the name is there and may be lost by a crash.
 */
export async function renameDurably(from: string, to: string): Promise<void> {
  await rename(from, to);
  await syncDirectory(dirname(to));
}

/**
 * This writes a small file whole, in place of one that may be there. When it resolves, a crash leaves the new bytes; before, the old ones
 * or the new ones, never a part. Two calls for one path must not overlap.
 */
export async function writeFileDurably(path: string, data: string | Uint8Array, mode = 0o644): Promise<void> {
  const temporary = `${path}.tmp`;
  // What a crash left may have another mode.
  await rm(temporary, { force: true });
  try {
    {
      await using file = await open(temporary, "wx", mode);
      await file.writeFile(data);
      await file.sync();
    }
    await renameDurably(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}
