import { stat } from "node:fs/promises";
import { join } from "node:path";

import type { CallOptions } from "@berth/core/any";
import type { Mount } from "@berth/core/mount";
import { SnapshotLabel, type SnapshotUsage } from "@berth/core/snapshots";
import { unimplemented } from "@berth/errors";

import { parseMaxSize } from "../max-size.ts";
import {
  type DriverTools,
  plainSeal,
  type SealedSnapshot,
  type SnapshotDriver,
  type SnapshotFiller,
  type SnapshotRequest,
} from "../snapshot-driver.ts";
import { SnapshotPlaces } from "../snapshot-places.ts";
import type { SnapshotRecord } from "../store/snapshot-record.ts";
import type { TreeWorkers } from "../tree-workers.ts";
import { flushImage } from "./flush-image.ts";
import { resizeExt } from "./resize-ext.ts";

/** What the mounts of a blockfile snapshotter are made from. */
export interface BlockfileSettings {
  readonly scratch: string;
  readonly fsType: string;
  /** Put before `rw` and `ro`. */
  readonly mountOptions: readonly string[];
}

/** Keeps each snapshot as a file that holds a file system; a new one begins as a copy of its parent, or of an empty one. */
export class BlockfileDriver implements SnapshotDriver {
  readonly rebase = false;
  readonly #places: SnapshotPlaces;
  readonly #trees: TreeWorkers;
  readonly #settings: BlockfileSettings;

  private constructor(places: SnapshotPlaces, trees: TreeWorkers, settings: BlockfileSettings) {
    this.#places = places;
    this.#trees = trees;
    this.#settings = settings;
  }

  static async open({ root, trees, log }: DriverTools, settings: BlockfileSettings): Promise<BlockfileDriver> {
    const operations = { remove: (path: string, options?: CallOptions) => trees.remove(path, options) };
    const places = await SnapshotPlaces.open({ path: join(root, "snapshots"), operations, log });
    return new BlockfileDriver(places, trees, settings);
  }

  places(): SnapshotPlaces {
    return this.#places;
  }

  filler({ kind, labels, parent }: SnapshotRequest): SnapshotFiller | undefined {
    // A view shows its parent, which never changes.
    if (kind === "view" && parent !== undefined) return undefined;
    const source = parent === undefined ? this.#settings.scratch : this.#places.of(parent.id);
    const size = kind === "active" ? parseMaxSize(labels) : undefined;
    return async (path, options) => {
      await this.#trees.copyFile(source, path, options);
      if (size !== undefined) await this.#limit(path, size, options);
    };
  }

  usage({ id }: SnapshotRecord, options: CallOptions): Promise<SnapshotUsage> {
    return this.#trees.usage(this.#places.of(id), options);
  }

  mounts(record: SnapshotRecord, [parent]: readonly SnapshotRecord[]): readonly Mount[] {
    const { id } = record.kind === "view" && parent !== undefined ? parent : record;
    const { fsType, mountOptions } = this.#settings;
    const options = [...mountOptions, record.kind === "view" ? "ro" : "rw"];
    return [{ type: fsType, source: this.#places.of(id), target: "", options }];
  }

  /** What is written to a snapshot that is still mounted may not have reached its file. */
  async seal({ id }: SnapshotRecord): Promise<SealedSnapshot> {
    await flushImage(this.#places.of(id));
    return plainSeal;
  }

  /** A file system cannot be larger than its file; making it fill the file takes a tool of that file system. */
  async #limit(path: string, size: number, options: CallOptions): Promise<void> {
    const { fsType } = this.#settings;
    if (/^ext[234]$/.test(fsType)) await resizeExt(path, size, options);
    else if ((await stat(path)).size !== size) {
      throw unimplemented(`${SnapshotLabel.maxSize}: ${fsType} cannot be resized here, only ext2, ext3 and ext4`);
    }
  }
}
