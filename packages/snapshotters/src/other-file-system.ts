import { realpath } from "node:fs/promises";

import { makeDirectories } from "@berth/core/make-directories";
import { fsTypeName, type MountInfo, readMountInfo, statFs } from "@berth/linux/mount";

/**
 * This makes the root of a snapshotter that needs one file system, and says which other one it is on, if so.
 *
 * @see containerd plugins/snapshots/btrfs
 */
export async function findOtherFileSystem(root: string, wanted: string): Promise<string | undefined> {
  await makeDirectories(root, 0o700);
  const type = fsTypeName(statFs(root).type);
  if (type === wanted) return undefined;
  // The mount table tells ext2, ext3 and ext4 apart, their magic number does not.
  return (await findMountOf(root))?.type ?? type;
}

/** This finds the mount that shows a path. */
export async function findMountOf(path: string): Promise<MountInfo | undefined> {
  const real = await realpath(path);
  return readMountInfo()
    .filter(({ mountPoint }) => mountPoint === "/" || real === mountPoint || real.startsWith(`${mountPoint}/`))
    .toSorted((a, b) => a.mountPoint.length - b.mountPoint.length)
    .at(-1);
}
