import { chmod } from "node:fs/promises";
import { join } from "node:path";

import type { CallOptions } from "@berth/core/any";
import type { Mount } from "@berth/core/mount";
import type { Snapshotter, SnapshotUsage } from "@berth/core/snapshots";

import { openSnapshotter, type SnapshotterOptions } from "./driven-snapshotter.ts";
import { refuseMaxSize } from "./max-size.ts";
import type { DriverTools, SnapshotDriver, SnapshotFiller, SnapshotRequest } from "./snapshot-driver.ts";
import { directoryPlaces, SnapshotPlaces } from "./snapshot-places.ts";
import type { SnapshotRecord } from "./store/snapshot-record.ts";
import type { TreeWorkers } from "./tree-workers.ts";

/** Options of {@link openNativeSnapshotter}. */
export type NativeSnapshotterOptions = Omit<SnapshotterOptions, "syncRemove">;

/**
 * This opens the native snapshotter: each snapshot is a full copy of its parent (sharing blocks where the file system can),
 * on any file system, at the price of time and space. Removed snapshots go from disk at once.
 *
 * @see containerd plugins/snapshots/native
 */
export function openNativeSnapshotter(options: NativeSnapshotterOptions): Promise<Snapshotter> {
  return openSnapshotter({ ...options, syncRemove: true }, (tools) => NativeDriver.open(tools));
}

class NativeDriver implements SnapshotDriver {
  readonly rebase = false;
  readonly #places: SnapshotPlaces;
  readonly #trees: TreeWorkers;

  private constructor(places: SnapshotPlaces, trees: TreeWorkers) {
    this.#places = places;
    this.#trees = trees;
  }

  static async open({ root, trees, log }: DriverTools): Promise<NativeDriver> {
    const operations = directoryPlaces(trees);
    return new NativeDriver(await SnapshotPlaces.open({ path: join(root, "snapshots"), operations, log }), trees);
  }

  places(): SnapshotPlaces {
    return this.#places;
  }

  filler({ kind, parent, labels }: SnapshotRequest): SnapshotFiller | undefined {
    if (kind === "active") refuseMaxSize(labels, "native");
    // A view shows its parent, which never changes.
    if (kind === "view" && parent !== undefined) return undefined;
    return async (path, options) => {
      await chmod(path, 0o755);
      if (parent !== undefined) await this.#trees.copy(this.#places.of(parent.id), path, options);
    };
  }

  usage({ id }: SnapshotRecord, options: CallOptions): Promise<SnapshotUsage> {
    return this.#trees.usage(this.#places.of(id), options);
  }

  mounts(record: SnapshotRecord, [parent]: readonly SnapshotRecord[]): readonly Mount[] {
    const { id } = record.kind === "view" && parent !== undefined ? parent : record;
    const mode = record.kind === "view" ? "ro" : "rw";
    return [{ type: "bind", source: this.#places.of(id), target: "", options: ["rbind", mode] }];
  }
}
