import type { Snapshotter } from "@berth/core/snapshots";
import { failedPrecondition } from "@berth/errors";

import { BtrfsDriver } from "./btrfs/btrfs-driver.ts";
import { openSnapshotter, type SnapshotterOptions } from "./driven-snapshotter.ts";
import { findMountOf, findOtherFileSystem } from "./other-file-system.ts";

export { findOtherFileSystem } from "./other-file-system.ts";

/** Options of {@link openBtrfsSnapshotter}. */
export type BtrfsSnapshotterOptions = Omit<SnapshotterOptions, "syncRemove">;

/**
 * This opens the btrfs snapshotter: each snapshot is a subvolume that shares what it has in common with its parent. It needs no
 * program. Removed snapshots go from disk at once.
 *
 * @throws failed_precondition - the root is on another file system
 * @see containerd plugins/snapshots/btrfs
 */
export async function openBtrfsSnapshotter(options: BtrfsSnapshotterOptions): Promise<Snapshotter> {
  const other = await findOtherFileSystem(options.root, "btrfs");
  const mount = await findMountOf(options.root);
  if (other !== undefined || mount === undefined) {
    throw failedPrecondition(`path ${options.root} (${other}) must be a btrfs filesystem`);
  }
  return openSnapshotter({ ...options, syncRemove: true }, (tools) => BtrfsDriver.open(tools, mount.source));
}
