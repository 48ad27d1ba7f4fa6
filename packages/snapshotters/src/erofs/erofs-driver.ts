import { copyFile, lchown, mkdir, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";

import type { Labels } from "@berth/core/labels";
import type { Logger } from "@berth/core/log";
import type { Mount } from "@berth/core/mount";
import type { SnapshotUsage } from "@berth/core/snapshots";
import { dataLoss, failedPrecondition, messageOf, systemErrorCode } from "@berth/errors";
import { unmountRecursive } from "@berth/linux/mount";

import { parseMaxSize } from "../max-size.ts";
import { mappedRoot } from "../overlayfs/id-mapping.ts";
import type {
  DriverTools,
  MeasureOptions,
  SealedSnapshot,
  SnapshotDriver,
  SnapshotFiller,
  SnapshotRequest,
} from "../snapshot-driver.ts";
import { SnapshotPlaces } from "../snapshot-places.ts";
import type { SnapshotRecord } from "../store/snapshot-record.ts";
import type { TreeWorkers } from "../tree-workers.ts";
import { isThere } from "./convert-layer.ts";
import { type ErofsLayer, erofsMounts, type WritableLayer } from "./erofs-mounts.ts";
import { erofsPath } from "./erofs-paths.ts";
import { erofsPlaces } from "./erofs-places.ts";
import { findCachedLayer } from "./layer-cache.ts";
import { finishSeal, sealLayer } from "./seal-layer.ts";

/** How layers are kept. */
export interface ErofsSettings {
  /** Options put at the end of each overlay. */
  readonly overlayOptions: readonly string[];
  readonly setImmutable: boolean;
  /** Size of the image that a writable layer is kept in; 0 keeps it in a directory. */
  readonly defaultSize: number;
  readonly dmverityMode: "auto" | "on" | "off";
  readonly layerContentCaches: readonly string[];
  /** Mounts can map ids. */
  readonly remapIds: boolean;
}

/** Keeps each committed snapshot as an EROFS image, and what is written in a directory or an ext4 image. */
export class ErofsDriver implements SnapshotDriver {
  readonly rebase = true;
  readonly #places: SnapshotPlaces;
  readonly #trees: TreeWorkers;
  readonly #log: Logger;
  readonly #settings: ErofsSettings;
  /** Mounts for as long as a layer is made. */
  readonly #mounts: string;

  private constructor(places: SnapshotPlaces, { root, trees, log }: DriverTools, settings: ErofsSettings) {
    this.#places = places;
    this.#trees = trees;
    this.#log = log;
    this.#settings = settings;
    this.#mounts = join(root, "tmpmounts");
  }

  static async open(tools: DriverTools, settings: ErofsSettings): Promise<ErofsDriver> {
    const operations = erofsPlaces(tools.trees);
    const places = await SnapshotPlaces.open({ path: join(tools.root, "snapshots"), operations, log: tools.log });
    return new ErofsDriver(places, tools, settings);
  }

  places(): SnapshotPlaces {
    return this.#places;
  }

  filler({ kind, labels, parent }: SnapshotRequest): SnapshotFiller {
    const block = this.#blockSize(labels) > 0;
    const mapped = block ? undefined : mappedRoot(labels);
    return async (path) => {
      const upper = erofsPath(path, "upper");
      await mkdir(upper, { mode: 0o755 });
      if (kind === "active") {
        if (!block) await mkdir(erofsPath(path, "work"), { mode: 0o711 });
        await writeFile(erofsPath(path, "marker"), "");
        if (parent === undefined) await this.#stageCached(path, labels);
      }
      const owner = mapped ?? (parent === undefined || block ? undefined : await stat(this.#file(parent, "upper")));
      if (owner !== undefined) await lchown(upper, owner.uid, owner.gid);
    };
  }

  async usage(record: SnapshotRecord, { signal }: MeasureOptions): Promise<SnapshotUsage> {
    const files = await this.#trees.usage(this.#file(record, "upper"), { signal });
    const image = await this.#trees.usage(this.#file(record, "writable"), { signal });
    return { size: files.size + image.size, inodes: files.inodes + image.inodes };
  }

  sealedUsage(record: SnapshotRecord, { signal }: MeasureOptions): Promise<SnapshotUsage> {
    return this.#trees.usage(this.#file(record, "layer"), { signal });
  }

  async mounts(record: SnapshotRecord, ancestors: readonly SnapshotRecord[]): Promise<readonly Mount[]> {
    const { labels } = record;
    return erofsMounts({
      // The store has no mounts of a committed one.
      kind: record.kind === "active" ? "active" : "view",
      labels,
      writable: await this.#writable(record),
      empty: this.#file(record, "upper"),
      own: ancestors.length === 0 ? await this.#ownLayer(record) : undefined,
      lower: await this.#lowerLayers(ancestors),
      options: this.#settings.overlayOptions,
      remapIds: this.#settings.remapIds,
    });
  }

  seal(record: SnapshotRecord, { signal }: MeasureOptions): Promise<SealedSnapshot> {
    const { setImmutable } = this.#settings;
    const [directory, trees, log] = [this.#places.of(record.id), this.#trees, this.#log];
    return sealLayer({ directory, mounts: this.#mounts, trees, setImmutable, log }, { signal });
  }

  async restore(records: readonly SnapshotRecord[]): Promise<void> {
    await unmountRecursive(this.#mounts);
    await this.#trees.remove(this.#mounts);
    for (const { kind, id, name } of records) {
      if (kind !== "committed") continue;
      try {
        await finishSeal({ directory: this.#places.of(id), trees: this.#trees });
      } catch (error) {
        this.#log.warn("failed to clean up after commit", { name, error: messageOf(error) });
      }
    }
  }

  #file({ id }: SnapshotRecord, name: Parameters<typeof erofsPath>[1]): string {
    return erofsPath(this.#places.of(id), name);
  }

  /** The label gives a size to a single snapshot, in directory mode too. */
  #blockSize(labels: Labels): number {
    return parseMaxSize(labels) ?? this.#settings.defaultSize;
  }

  /** The mode was chosen when the snapshot was made; its label may have changed since. */
  async #writable(record: SnapshotRecord): Promise<WritableLayer> {
    const work = this.#file(record, "work");
    if (record.kind !== "active" || (await isThere(work))) {
      return { kind: "directory", upper: this.#file(record, "upper"), work };
    }
    const path = this.#file(record, "writable");
    const size = this.#blockSize(record.labels) || (await stat(path)).size;
    return { kind: "block", path, size };
  }

  async #stageCached(path: string, labels: Labels): Promise<void> {
    const { dmverityMode, layerContentCaches } = this.#settings;
    const cached = await findCachedLayer(layerContentCaches, labels, this.#log);
    if (cached === undefined) return;
    await symlink(cached, erofsPath(path, "layer"));
    if (dmverityMode === "off") return;
    try {
      await copyFile(`${cached}.dmverity`, erofsPath(path, "verity"));
    } catch (error) {
      if (dmverityMode === "on" || systemErrorCode(error) !== "ENOENT") throw error;
    }
  }

  async #ownLayer(record: SnapshotRecord): Promise<ErofsLayer | undefined> {
    if (!(await isThere(this.#file(record, "layer")))) return undefined;
    return (await isThere(this.#file(record, "sealing"))) ? undefined : this.#layer(record);
  }

  async #lowerLayers(ancestors: readonly SnapshotRecord[]): Promise<readonly ErofsLayer[]> {
    const layers: ErofsLayer[] = [];
    for (const [index, ancestor] of ancestors.entries()) {
      const merged = this.#file(ancestor, "merged");
      if (await isNotEmpty(merged)) {
        const devices = ancestors.slice(index).map((below) => this.#file(below, "layer"));
        return [...layers, { path: merged, devices: devices.toReversed() }];
      }
      layers.push(await this.#layer(ancestor));
    }
    return layers;
  }

  async #layer(record: SnapshotRecord): Promise<ErofsLayer> {
    const path = this.#file(record, "layer");
    if (!(await isThere(path))) throw dataLoss(`snapshot ${record.name}: layer ${path} is missing`);
    if (this.#settings.dmverityMode === "off") return { path };
    const verity = this.#file(record, "verity");
    if (await isThere(verity)) return { path, verity };
    if (this.#settings.dmverityMode === "auto") return { path };
    throw failedPrecondition(`dmverity_mode is "on", but layer ${path} has no ${verity}`);
  }
}

async function isNotEmpty(path: string): Promise<boolean> {
  try {
    return (await stat(path)).size > 0;
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return false;
    throw error;
  }
}
