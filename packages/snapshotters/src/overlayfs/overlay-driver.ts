import { lchown, mkdir, stat } from "node:fs/promises";
import { join } from "node:path";

import type { CallOptions } from "@berth/core/any";
import type { Mount } from "@berth/core/mount";
import { type SnapshotInfo, SnapshotLabel, type SnapshotUsage } from "@berth/core/snapshots";

import type { DriverTools, SnapshotDriver, SnapshotFiller, SnapshotRequest } from "../snapshot-driver.ts";
import { directoryPlaces, SnapshotPlaces } from "../snapshot-places.ts";
import type { SnapshotRecord } from "../store/snapshot-record.ts";
import type { TreeWorkers } from "../tree-workers.ts";
import { mappedRoot, type Owner } from "./id-mapping.ts";
import { overlayMounts } from "./overlay-mounts.ts";
import type { OverlaySupport } from "./overlay-support.ts";

/** Keeps the changes of a snapshot in `fs` and lets the kernel join them with those of its ancestors; `work` is the kernel's. */
export class OverlayDriver implements SnapshotDriver {
  readonly rebase: boolean;
  readonly #places: SnapshotPlaces;
  readonly #trees: TreeWorkers;
  readonly #support: OverlaySupport;
  readonly #upperdirLabel: boolean;

  private constructor(places: SnapshotPlaces, trees: TreeWorkers, support: OverlaySupport, upperdirLabel: boolean) {
    this.#places = places;
    this.#trees = trees;
    this.#support = support;
    this.#upperdirLabel = upperdirLabel;
    this.rebase = support.rebase;
  }

  static async open(
    { root, trees, log }: DriverTools,
    support: OverlaySupport,
    upperdirLabel: boolean,
  ): Promise<OverlayDriver> {
    const operations = directoryPlaces(trees);
    const places = await SnapshotPlaces.open({ path: join(root, "snapshots"), operations, log });
    return new OverlayDriver(places, trees, support, upperdirLabel);
  }

  places(): SnapshotPlaces {
    return this.#places;
  }

  filler({ kind, labels, parent }: SnapshotRequest): SnapshotFiller {
    const mapped = mappedRoot(labels);
    return async (path) => {
      const owner = mapped ?? (parent === undefined ? undefined : await stat(this.contentPath(parent.id)));
      await fill(path, kind, owner);
    };
  }

  usage({ id }: SnapshotRecord, options: CallOptions): Promise<SnapshotUsage> {
    return this.#trees.usage(this.contentPath(id), options);
  }

  contentPath(id: number): string {
    return join(this.#places.of(id), "fs");
  }

  mounts(record: SnapshotRecord, ancestors: readonly SnapshotRecord[]): readonly Mount[] {
    const { kind, labels, id } = record;
    const { options, remapIds } = this.#support;
    const work = join(this.#places.of(id), "work");
    const lower = ancestors.map((ancestor) => this.contentPath(ancestor.id));
    return overlayMounts({ kind, labels, upper: this.contentPath(id), work, lower, options, remapIds });
  }

  describe(info: SnapshotInfo, { id }: SnapshotRecord): SnapshotInfo {
    if (!this.#upperdirLabel) return info;
    return { ...info, labels: new Map([...info.labels, [SnapshotLabel.overlayUpperdir, this.contentPath(id)]]) };
  }
}

/** The owner of `fs` is the owner of `/` in the container, since the topmost directory gives its attributes. */
async function fill(path: string, kind: "active" | "view", owner: Owner | undefined): Promise<void> {
  const upper = join(path, "fs");
  await mkdir(upper, { mode: 0o755 });
  if (kind === "active") await mkdir(join(path, "work"), { mode: 0o711 });
  if (owner !== undefined) await lchown(upper, owner.uid, owner.gid);
}
