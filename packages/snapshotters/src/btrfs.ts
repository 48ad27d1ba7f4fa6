import { mkdir, realpath } from "node:fs/promises";
import { isAbsolute, relative } from "node:path";

import { fsTypeName, readMountInfo, statFs } from "@berth/linux/mount";

/**
 * This makes the root of a btrfs snapshotter and says which file system it is on, when that is not btrfs.
 *
 * @see containerd plugins/snapshots/btrfs
 */
export async function findOtherFileSystem(root: string): Promise<string | undefined> {
  await mkdir(root, { recursive: true, mode: 0o700 });
  const type = fsTypeName(statFs(root).type);
  if (type === "btrfs") return undefined;
  return mountedType(await realpath(root)) ?? type;
}

/** The mount table tells ext2, ext3 and ext4 apart, their magic number does not. */
function mountedType(path: string): string | undefined {
  const holds = (mountPoint: string): boolean => {
    const below = relative(mountPoint, path);
    return below === "" || (!isAbsolute(below) && below !== ".." && !below.startsWith("../"));
  };
  return readMountInfo()
    .filter(({ mountPoint }) => holds(mountPoint))
    .toSorted((a, b) => a.mountPoint.length - b.mountPoint.length)
    .at(-1)?.type;
}
