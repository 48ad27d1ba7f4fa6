import { rm } from "node:fs/promises";
import { join } from "node:path";

import { makeDirectories } from "@berth/core/make-directories";
import { unmountRecursive } from "@berth/linux/mount";

/**
 * This gives `look` an empty directory below the root of a snapshotter, to find out what can be done there. It is removed in the end, with
 * what is mounted in it; one that a kill has left is removed by the next who looks under the same name. Not for two at once.
 */
export async function withProbeDirectory<T>(
  root: string,
  name: string,
  look: (directory: string) => Promise<T>,
): Promise<T> {
  const path = join(root, `probe-${name}`);
  await removeProbe(path);
  await makeDirectories(path, 0o700);
  try {
    return await look(path);
  } finally {
    await removeProbe(path);
  }
}

async function removeProbe(path: string): Promise<void> {
  // First: what is mounted is not ours to remove.
  await unmountRecursive(path);
  await rm(path, { recursive: true, force: true });
}
