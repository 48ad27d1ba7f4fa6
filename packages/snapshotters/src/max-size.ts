import type { Labels } from "@berth/core/labels";
import { SnapshotLabel } from "@berth/core/snapshots";
import { invalidArgument, unimplemented } from "@berth/errors";

/** The smallest file system that is worth being made. */
const MIN_BYTES = 1024 * 1024;
/** What ext4 takes with blocks of 4 KiB; a label may come from an image, and the time of mkfs grows with the size. */
const MAX_BYTES = 16 * 1024 ** 4 - 4096;

/**
 * This reads the limit of a writable layer in bytes from the label `containerd.io/snapshot/max-size`; `undefined` without one.
 *
 * @throws invalid_argument - it is no whole number of bytes from 1 MiB to 16 TiB
 */
export function parseMaxSize(labels: Labels): number | undefined {
  const text = labels.get(SnapshotLabel.maxSize);
  // An empty value deletes a label.
  if (text === undefined || text === "") return undefined;
  const size = /^[1-9]\d{0,15}$/.test(text) ? Number(text) : Number.NaN;
  if (size >= MIN_BYTES && size <= MAX_BYTES) return size;
  throw invalidArgument(`${SnapshotLabel.maxSize}=${JSON.stringify(text)} is no number of bytes from 1 MiB to 16 TiB`);
}

/** This refuses a limit that a snapshotter cannot keep. @throws unimplemented; invalid_argument - it is none */
export function refuseMaxSize(labels: Labels, snapshotter: string): void {
  if (parseMaxSize(labels) === undefined) return;
  throw unimplemented(`snapshotter ${snapshotter} cannot limit the size of a layer (${SnapshotLabel.maxSize})`);
}
