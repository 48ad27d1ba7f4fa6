import { stat } from "node:fs/promises";
import { dirname, isAbsolute, join } from "node:path";

import type { Mount } from "@berth/core/mount";
import { failedPrecondition, systemErrorCode, unimplemented } from "@berth/errors";

import { overlayDirectories } from "./overlay-options.ts";

const MARKER = ".erofslayer";
/** Name of the image in the directory of a snapshot. */
export const LAYER_FILE = "layer.erofs";

/**
 * This finds the directory of the snapshot that a list of mounts belongs to, if the EROFS snapshotter has made it.
 *
 * @throws unimplemented - it is another snapshotter's: the next differ may know what to do
 * @throws failed_precondition - the snapshot is read-only: its layer is there already
 * @see containerd internal/erofsutils, MountsToLayer
 */
export async function erofsSnapshotDirectory(mounts: readonly Mount[]): Promise<string> {
  if (mounts.at(-1)?.options.includes("ro") === true)
    throw failedPrecondition("the snapshot is read-only, its content is there already");
  for (const { source, options } of mounts.toReversed()) {
    const { upper } = overlayDirectories(options);
    for (const path of [upper, source]) {
      // Others are templates for the mount manager, or devices.
      if (path !== undefined && isAbsolute(path) && (await isThere(join(dirname(path), MARKER)))) return dirname(path);
    }
  }
  throw unimplemented("the snapshot is not of the EROFS snapshotter");
}

/** This returns the images of the layers below the snapshot, the nearest first; none where the kernel alone cannot mount each of them. */
export function erofsLowers(mounts: readonly Mount[]): readonly string[] {
  const images = mounts.filter(({ type }) => type === "erofs");
  // What else an option asks for is for a mount manager to do: devices, a check of every block.
  const isPlain = images.every(({ options }) => options.every((option) => option === "ro" || option === "loop"));
  return isPlain ? images.map(({ source }) => source) : [];
}

/** This says whether the snapshot comes as what will be an upper directory, and gets its parent later. */
export function awaitsParent(mounts: readonly Mount[]): boolean {
  const [mount] = mounts;
  if (mounts.length !== 1 || mount?.type !== "overlay") return false;
  const { upper, lowers } = overlayDirectories(mount.options);
  return upper !== undefined && lowers.length === 0;
}

async function isThere(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes(systemErrorCode(error) ?? "")) return false;
    throw error;
  }
}
