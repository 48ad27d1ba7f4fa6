import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";

import type { Mount } from "@berth/core/mount";
import { isNotFound } from "@berth/errors";
import type { UserFiles } from "@berth/oci/spec";

/** More users than any real image has; what is beyond is not read. */
const MAX_BYTES = 4 * 1024 * 1024;

/**
 * This mounts a root file system for a moment and reads its `/etc/passwd` and `/etc/group`. Links in it lead nowhere outside it.
 */
export async function readUserFiles(mounts: readonly Mount[]): Promise<UserFiles> {
  const { mountTemporary } = await import("@berth/linux/mount");
  await using mounted = await mountTemporary(mounts);
  return await readUserFilesAt(mounted.path);
}

/** This reads the user files of the root file system in a directory; errors and bounds as {@link readUserFiles}. */
export async function readUserFilesAt(root: string): Promise<UserFiles> {
  const directory = openSync(root, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    return { passwd: await readInside(directory, "etc/passwd"), group: await readInside(directory, "etc/group") };
  } finally {
    closeSync(directory);
  }
}

async function readInside(directory: number, path: string): Promise<string | undefined> {
  const { openat2, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS } = await import("@berth/linux/files");
  let descriptor: number;
  try {
    // Not blocking: an image may have a pipe there.
    descriptor = openat2(directory, path, {
      flags: constants.O_RDONLY | constants.O_NONBLOCK,
      resolve: RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
    });
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
  try {
    const stats = fstatSync(descriptor);
    if (!stats.isFile()) return undefined;
    const bytes = new Uint8Array(Math.min(stats.size, MAX_BYTES));
    const length = readSync(descriptor, bytes, 0, bytes.length, 0);
    return new TextDecoder().decode(bytes.subarray(0, length));
  } finally {
    closeSync(descriptor);
  }
}
