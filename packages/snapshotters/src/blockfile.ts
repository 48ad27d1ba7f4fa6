import type { Snapshotter } from "@berth/core/snapshots";

import { BlockfileDriver } from "./blockfile/blockfile-driver.ts";
import { prepareScratch, type ScratchOptions, tryScratch } from "./blockfile/scratch.ts";
import { openSnapshotter, type SnapshotterOptions } from "./driven-snapshotter.ts";

export { findMissingScratch, type ScratchOptions } from "./blockfile/scratch.ts";

/** Options of {@link openBlockfileSnapshotter}. */
export interface BlockfileSnapshotterOptions extends Omit<SnapshotterOptions, "syncRemove">, ScratchOptions {
  /** Type of the file system in the scratch file; default ext4. */
  readonly fsType?: string;
  /** Options of each mount; default `loop`, which is added where it is missing. */
  readonly mountOptions?: readonly string[];
}

/**
 * This opens the blockfile snapshotter: each snapshot is a file that holds a file system, a copy of that of its parent (sharing
 * blocks where the file system below can). Virtual machines can have it as a disk. Removed snapshots go from disk at once.
 *
 * The label `containerd.io/snapshot/max-size` gives the file system of a new active snapshot its size in bytes, when that is ext2,
 * ext3 or ext4. Other snapshots are as large as their parents, or the scratch file.
 *
 * @throws failed_precondition - there is no scratch file, or it cannot be mounted
 * @see containerd plugins/snapshots/blockfile
 */
export async function openBlockfileSnapshotter(options: BlockfileSnapshotterOptions): Promise<Snapshotter> {
  const { fsType = "ext4", mountOptions: given = [] } = options;
  const mountOptions = given.includes("loop") ? given : [...given, "loop"];
  return openSnapshotter({ ...options, syncRemove: true }, async (tools) => {
    const scratch = await prepareScratch(options, tools.trees);
    await tryScratch(tools.root, scratch, { type: fsType, options: mountOptions });
    return BlockfileDriver.open(tools, { scratch, fsType, mountOptions });
  });
}
