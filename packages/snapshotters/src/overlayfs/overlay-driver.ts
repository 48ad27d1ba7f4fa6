import { lchown, mkdir, stat } from "node:fs/promises";
import { join } from "node:path";

import { KeyedLock } from "@berth/core/keyed-lock";
import type { Logger } from "@berth/core/log";
import type { Mount } from "@berth/core/mount";
import { type SnapshotInfo, SnapshotLabel, type SnapshotUsage } from "@berth/core/snapshots";
import { messageOf } from "@berth/errors";

import { parseMaxSize } from "../max-size.ts";
import {
  type DriverTools,
  type MeasureOptions,
  plainSeal,
  type SealedSnapshot,
  type SnapshotDriver,
  type SnapshotFiller,
  type SnapshotRequest,
} from "../snapshot-driver.ts";
import { directoryPlaces, type PlaceOperations, SnapshotPlaces } from "../snapshot-places.ts";
import type { SnapshotRecord } from "../store/snapshot-record.ts";
import type { TreeWorkers } from "../tree-workers.ts";
import { mappedRoot, type Owner } from "./id-mapping.ts";
import { LimitedLayer } from "./limited-layer.ts";
import { overlayMounts } from "./overlay-mounts.ts";
import type { OverlaySupport } from "./overlay-support.ts";

/**
 * Keeps the changes of a snapshot in `fs` and lets the kernel join them with those of its ancestors; `work` is the kernel's. Both lie
 * in an image of their own while a snapshot with a limit is active; its commit copies them out.
 */
export class OverlayDriver implements SnapshotDriver {
  readonly rebase: boolean;
  readonly #places: SnapshotPlaces;
  readonly #trees: TreeWorkers;
  readonly #log: Logger;
  readonly #support: OverlaySupport;
  readonly #upperdirLabel: boolean;
  readonly #mounting = new KeyedLock();

  private constructor(
    places: SnapshotPlaces,
    { trees, log }: DriverTools,
    support: OverlaySupport,
    upperdirLabel: boolean,
  ) {
    this.#places = places;
    this.#trees = trees;
    this.#log = log;
    this.#support = support;
    this.#upperdirLabel = upperdirLabel;
    this.rebase = support.rebase;
  }

  static async open(tools: DriverTools, support: OverlaySupport, upperdirLabel: boolean): Promise<OverlayDriver> {
    const path = join(tools.root, "snapshots");
    const places = await SnapshotPlaces.open({ path, operations: overlayPlaces(tools.trees), log: tools.log });
    return new OverlayDriver(places, tools, support, upperdirLabel);
  }

  places(): SnapshotPlaces {
    return this.#places;
  }

  filler({ kind, labels, parent }: SnapshotRequest): SnapshotFiller {
    const mapped = mappedRoot(labels);
    const size = kind === "active" ? parseMaxSize(labels) : undefined;
    return async (path, options) => {
      const owner = mapped ?? (parent === undefined ? undefined : await stat(this.#committedPath(parent.id)));
      if (size === undefined) await fill(path, kind, owner);
      else await new LimitedLayer(path).make(size, owner, options);
    };
  }

  usage(record: SnapshotRecord, { signal }: MeasureOptions): Promise<SnapshotUsage> {
    return this.#trees.usage(this.#upperPath(record), { signal });
  }

  sealedUsage({ id }: SnapshotRecord, { signal }: MeasureOptions): Promise<SnapshotUsage> {
    return this.#trees.usage(this.#committedPath(id), { signal });
  }

  async mounts(record: SnapshotRecord, ancestors: readonly SnapshotRecord[]): Promise<readonly Mount[]> {
    const { kind, labels, id } = record;
    const { options, remapIds } = this.#support;
    const limited = this.#limited(record);
    if (limited !== undefined) await this.#mount(limited, id);
    const work = limited?.work ?? join(this.#places.of(id), "work");
    const lower = ancestors.map((ancestor) => this.#committedPath(ancestor.id));
    return overlayMounts({ kind, labels, upper: this.#upperPath(record), work, lower, options, remapIds });
  }

  isPlain(record: SnapshotRecord): boolean {
    return this.#limited(record) === undefined;
  }

  async seal(record: SnapshotRecord, { signal }: MeasureOptions): Promise<SealedSnapshot> {
    const limited = this.#limited(record);
    if (limited === undefined) return plainSeal;
    const committed = this.#committedPath(record.id);
    await using undo = new AsyncDisposableStack();
    undo.defer(() => this.#trees.remove(committed));
    // Left by a crash in the middle of this.
    await this.#trees.remove(committed);
    await mkdir(committed);
    await this.#mount(limited, record.id);
    await this.#trees.copy(limited.upper, committed, { signal });
    const taken = undo.move();
    return {
      finish: () => limited.remove(this.#trees),
      [Symbol.asyncDispose]: () => taken.disposeAsync(),
    };
  }

  /** A restart of the machine takes mounts away; a crash after a commit leaves an image that nobody needs. */
  async restore(records: readonly SnapshotRecord[]): Promise<void> {
    for (const record of records) {
      if (record.kind === "view") continue;
      const limited = new LimitedLayer(this.#places.of(record.id));
      if (!limited.exists) continue;
      try {
        await (record.kind === "active" ? this.#mount(limited, record.id) : limited.remove(this.#trees));
      } catch (error) {
        this.#log.warn("failed to restore limited snapshot", { key: record.name, error: messageOf(error) });
      }
    }
  }

  describe(info: SnapshotInfo, record: SnapshotRecord): SnapshotInfo {
    if (!this.#upperdirLabel) return info;
    return { ...info, labels: new Map([...info.labels, [SnapshotLabel.overlayUpperdir, this.#upperPath(record)]]) };
  }

  async #mount(limited: LimitedLayer, id: number): Promise<void> {
    using _turn = await this.#mounting.acquire(String(id));
    await limited.mount();
  }

  #limited({ kind, id }: SnapshotRecord): LimitedLayer | undefined {
    const limited = new LimitedLayer(this.#places.of(id));
    return kind === "active" && limited.exists ? limited : undefined;
  }

  #upperPath(record: SnapshotRecord): string {
    return this.#limited(record)?.upper ?? this.#committedPath(record.id);
  }

  #committedPath(id: number): string {
    return join(this.#places.of(id), "fs");
  }
}

function overlayPlaces(trees: TreeWorkers): PlaceOperations {
  const directories = directoryPlaces(trees);
  return {
    ...directories,
    remove: async (path, options) => {
      await new LimitedLayer(path).unmount(options);
      await directories.remove(path, options);
    },
  };
}

/** The owner of `fs` is the owner of `/` in the container, since the topmost directory gives its attributes. */
async function fill(path: string, kind: "active" | "view", owner: Owner | undefined): Promise<void> {
  const upper = join(path, "fs");
  await mkdir(upper, { mode: 0o755 });
  if (kind === "active") await mkdir(join(path, "work"), { mode: 0o711 });
  if (owner !== undefined) await lchown(upper, owner.uid, owner.gid);
}
