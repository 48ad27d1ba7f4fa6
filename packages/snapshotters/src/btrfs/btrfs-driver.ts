import { chmod } from "node:fs/promises";
import { join } from "node:path";

import type { CallOptions } from "@berth/core/any";
import type { Mount } from "@berth/core/mount";
import type { SnapshotKind, SnapshotUsage } from "@berth/core/snapshots";
import { systemErrorCode } from "@berth/errors";
import { createSubvolume, deleteSubvolume, snapshotSubvolume, subvolumeId } from "@berth/linux/mount";

import { refuseMaxSize } from "../max-size.ts";
import type {
  DriverTools,
  MeasureOptions,
  SealedSnapshot,
  SnapshotDriver,
  SnapshotFiller,
  SnapshotRequest,
} from "../snapshot-driver.ts";
import { type PlaceOperations, SnapshotPlaces } from "../snapshot-places.ts";
import type { SnapshotRecord } from "../store/snapshot-record.ts";
import type { TreeWorkers } from "../tree-workers.ts";

/** Directory of the snapshots of each kind. */
const AREAS: Readonly<Record<SnapshotKind, string>> = { active: "active", view: "view", committed: "snapshots" };

/** Keeps each snapshot as a subvolume; a new one begins as a snapshot of its parent, which costs nothing. */
export class BtrfsDriver implements SnapshotDriver {
  readonly rebase = false;
  readonly #places: Readonly<Record<SnapshotKind, SnapshotPlaces>>;
  readonly #trees: TreeWorkers;
  readonly #device: string;

  private constructor(places: Readonly<Record<SnapshotKind, SnapshotPlaces>>, trees: TreeWorkers, device: string) {
    this.#places = places;
    this.#trees = trees;
    this.#device = device;
  }

  /** @param device - what the root is mounted from */
  static async open({ root, trees, log }: DriverTools, device: string): Promise<BtrfsDriver> {
    const operations: PlaceOperations = { remove: (path, options) => removeSubvolume(path, trees, options) };
    const open = async (kind: SnapshotKind): Promise<SnapshotPlaces> => {
      const path = join(root, AREAS[kind]);
      const places = await SnapshotPlaces.open({ path, operations, log });
      await chmod(path, 0o755);
      return places;
    };
    const places = { active: await open("active"), view: await open("view"), committed: await open("committed") };
    return new BtrfsDriver(places, trees, device);
  }

  places(kind: SnapshotKind): SnapshotPlaces {
    return this.#places[kind];
  }

  filler({ kind, parent, labels }: SnapshotRequest): SnapshotFiller {
    if (kind === "active") refuseMaxSize(labels, "btrfs");
    return async (path) => {
      if (parent === undefined) await createSubvolume(path);
      else await snapshotSubvolume(this.#places.committed.of(parent.id), path, { readOnly: kind === "view" });
    };
  }

  /** Counts whole files: what a changed file still shares with that of the parent, only quotas could tell. */
  usage({ id }: SnapshotRecord, { parent, signal }: MeasureOptions): Promise<SnapshotUsage> {
    const base = parent === undefined ? undefined : this.#places.committed.of(parent.id);
    return this.#trees.usage(this.#places.active.of(id), { base, signal });
  }

  async mounts({ kind, id }: SnapshotRecord): Promise<readonly Mount[]> {
    const subvolume = await subvolumeId(this.#places[kind].of(id));
    const options = [`subvolid=${subvolume}`, ...(kind === "active" ? [] : ["ro"])];
    return [{ type: "btrfs", source: this.#device, target: "", options }];
  }

  async seal({ id }: SnapshotRecord): Promise<SealedSnapshot> {
    const { active, committed } = this.#places;
    // Left by a crash between a seal and its commit.
    await committed.remove(id);
    const made = await committed.create(id, (path) => snapshotSubvolume(active.of(id), path, { readOnly: true }));
    return {
      finish: async () => {
        committed.adopted(id);
        await active.remove(id);
      },
      [Symbol.asyncDispose]: () => made[Symbol.asyncDispose](),
    };
  }
}

async function removeSubvolume(path: string, trees: TreeWorkers, options?: CallOptions): Promise<void> {
  try {
    await deleteSubvolume(path);
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === "ENOENT") return;
    // It holds subvolumes that were made inside of it, or is a directory that somebody else made.
    if (code !== "ENOTEMPTY" && code !== "EINVAL") throw error;
    await trees.remove(path, options);
  }
}
