import { readFile } from "node:fs/promises";
import { isAbsolute } from "node:path";

import type { Snapshotter } from "@berth/core/snapshots";
import { failedPrecondition, invalidArgument } from "@berth/errors";

import { openSnapshotter, type SnapshotterOptions } from "./driven-snapshotter.ts";
import { canConvert } from "./erofs/convert-layer.ts";
import { ErofsDriver, type ErofsSettings } from "./erofs/erofs-driver.ts";
import { kernelAtLeast } from "./user-namespace.ts";

export { ErofsFile } from "./erofs/erofs-paths.ts";

/** Options of {@link openErofsSnapshotter}. */
export interface ErofsSnapshotterOptions
  extends Omit<SnapshotterOptions, "syncRemove">, Partial<Omit<ErofsSettings, "remapIds">> {}

/** A snapshotter and what it found out about the machine. */
export interface OpenedErofsSnapshotter {
  readonly snapshotter: Snapshotter;
  /** Mounts can map ids. */
  readonly remapIds: boolean;
}

/** This says why there can be no EROFS snapshotter on this machine. */
export async function findMissingErofs(): Promise<string | undefined> {
  const known = (await readFile("/proc/filesystems", "utf8")).split("\n");
  if (!known.includes("\terofs")) return "EROFS unsupported, please `modprobe erofs`";
  return canConvert() ? undefined : "mkfs.erofs is not installed";
}

/**
 * This opens the EROFS snapshotter: each committed snapshot is a read-only image, made by `mkfs.erofs` at its commit or by the EROFS
 * differ before; mounts join the images of the ancestors. Most mounts are for the mount manager. Removed snapshots go from disk at once.
 *
 * With `defaultSize`, or the label `containerd.io/snapshot/max-size`, what is written goes to an ext4 image of that size.
 *
 * @throws invalid_argument - options that cannot be together
 * @throws failed_precondition - the machine cannot do it
 * @see containerd plugins/snapshots/erofs
 */
export async function openErofsSnapshotter(options: ErofsSnapshotterOptions): Promise<OpenedErofsSnapshotter> {
  const { layerContentCaches = [], setImmutable = false, dmverityMode = "auto" } = options;
  for (const directory of layerContentCaches) {
    if (!isAbsolute(directory)) throw invalidArgument(`layer_content_caches ${directory} must be an absolute path`);
  }
  if (layerContentCaches.length > 0 && setImmutable) {
    throw invalidArgument("set_immutable is incompatible with layer_content_caches");
  }
  const missing = await findMissingErofs();
  if (missing !== undefined) throw failedPrecondition(missing);
  const remapIds = kernelAtLeast(5, 19);
  const settings: ErofsSettings = {
    layerContentCaches,
    setImmutable,
    dmverityMode,
    remapIds,
    overlayOptions: options.overlayOptions ?? [],
    defaultSize: options.defaultSize ?? 0,
  };
  const snapshotter = await openSnapshotter({ ...options, syncRemove: true }, (tools) =>
    ErofsDriver.open(tools, settings),
  );
  return { snapshotter, remapIds };
}
