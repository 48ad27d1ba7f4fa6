import { makeDirectories } from "@berth/core/make-directories";
import type { Snapshotter } from "@berth/core/snapshots";
import { failedPrecondition } from "@berth/errors";

import { openSnapshotter, type SnapshotterOptions } from "./driven-snapshotter.ts";
import { OverlayDriver } from "./overlayfs/overlay-driver.ts";
import { type OverlaySupport, overlaySupport, supportsDirectoryTypes } from "./overlayfs/overlay-support.ts";

/** Options of {@link openOverlaySnapshotter}. */
export interface OverlaySnapshotterOptions extends SnapshotterOptions {
  /** Options added to each overlay mount. */
  readonly mountOptions?: readonly string[];
  /** Tell the upper directory of each snapshot in the label `containerd.io/snapshot/overlay.upperdir`. */
  readonly upperdirLabel?: boolean;
}

/** A snapshotter and what it found out about the machine. */
export interface OpenedOverlaySnapshotter {
  readonly snapshotter: Snapshotter;
  readonly support: OverlaySupport;
}

/**
 * This opens the overlayfs snapshotter: each snapshot is one directory of changes, joined with those of its ancestors by the
 * kernel when it is mounted. The caller disposes the snapshotter.
 *
 * @throws failed_precondition - the file system of the root cannot hold layers of overlayfs
 * @see containerd plugins/snapshots/overlay
 */
export async function openOverlaySnapshotter(options: OverlaySnapshotterOptions): Promise<OpenedOverlaySnapshotter> {
  const { root, mountOptions = [], upperdirLabel = false } = options;
  await makeDirectories(root, 0o700);
  if (!(await supportsDirectoryTypes(root))) {
    throw failedPrecondition(`${root} does not support d_type; if it is xfs, reformat it with ftype=1`);
  }
  const support = await overlaySupport(root, mountOptions);
  const snapshotter = await openSnapshotter(options, (tools) => OverlayDriver.open(tools, support, upperdirLabel));
  return { snapshotter, support };
}
