import { join } from "node:path";

import type { CallOptions } from "@berth/core/any";
import type { ListOptions, UpdateOptions } from "@berth/core/content";
import { KeyedLock } from "@berth/core/keyed-lock";
import type { Labels } from "@berth/core/labels";
import { noLabels } from "@berth/core/labels";
import { type Logger, silentLogger } from "@berth/core/log";
import { makeDirectories } from "@berth/core/make-directories";
import type { Mount } from "@berth/core/mount";
import type {
  SnapshotCommitOptions,
  SnapshotInfo,
  SnapshotKind,
  SnapshotOptions,
  Snapshotter,
  SnapshotUsage,
} from "@berth/core/snapshots";
import { failedPrecondition, invalidArgument, messageOf, wrapError } from "@berth/errors";

import { DurableDirectory } from "./durable-directory.ts";
import type { DriverTools, MeasureOptions, SealedSnapshot, SnapshotDriver } from "./snapshot-driver.ts";
import type { SnapshotPlaces } from "./snapshot-places.ts";
import { filterSnapshots } from "./store/filter-snapshots.ts";
import { snapshotInfo, type SnapshotRecord } from "./store/snapshot-record.ts";
import { SnapshotStore } from "./store/snapshot-store.ts";
import { TreeWorkers } from "./tree-workers.ts";

/** Options that all drivers share. */
export interface SnapshotterOptions {
  /** Directory of the snapshotter; made, mode 0700, when missing. One process may use it at a time. */
  readonly root: string;
  /** Remove a snapshot from disk before `remove` answers; otherwise `cleanup` does. */
  readonly syncRemove?: boolean;
  /** Put a snapshot on disk before its commit answers; default true. */
  readonly syncFs?: boolean;
  readonly log?: Logger;
  /** Called once when the database of the snapshotter cannot be trusted any more: the program must stop. */
  readonly fatal?: ((error: Error) => void) | undefined;
}

const KINDS: readonly SnapshotKind[] = ["active", "view", "committed"];

/** This opens a snapshotter over a driver. Disposing it leaves the snapshots, and mounts of theirs, as they are. */
export async function openSnapshotter(
  options: SnapshotterOptions,
  openDriver: (tools: DriverTools) => Promise<SnapshotDriver> | SnapshotDriver,
): Promise<Snapshotter> {
  const { root, log = silentLogger, fatal, syncFs = true, syncRemove = false } = options;
  await makeDirectories(root, 0o700);
  await using opened = new AsyncDisposableStack();
  const trees = opened.use(new TreeWorkers());
  const driver = await openDriver({ root, trees, log });
  const places = new Set(KINDS.map((kind) => driver.places(kind)));
  const usedIds = (await Promise.all(Array.from(places, (place) => place.ids()))).flat();
  const store = opened.use(await SnapshotStore.open({ path: join(root, "metadata.mdb"), log, fatal, usedIds }));
  const filling = new Set<number>();
  const durable = opened.use(
    await DurableDirectory.open(root, { active: () => [...filling, ...store.ids(["active"])], enabled: syncFs }),
  );
  await driver.restore?.(store.list());
  return new DrivenSnapshotter({ driver, places, durable, filling, store, syncRemove, log, owned: opened.move() });
}

interface Parts {
  readonly driver: SnapshotDriver;
  readonly places: ReadonlySet<SnapshotPlaces>;
  readonly durable: DurableDirectory;
  /** Ids of snapshots that are being made: they are written to and have no record yet. */
  readonly filling: Set<number>;
  readonly store: SnapshotStore;
  readonly syncRemove: boolean;
  readonly log: Logger;
  readonly owned: AsyncDisposableStack;
}

class DrivenSnapshotter implements Snapshotter {
  readonly #parts: Parts;
  readonly #store: SnapshotStore;
  readonly #driver: SnapshotDriver;
  /** Commits and removals of one key take turns: both change what is on disk. */
  readonly #turns = new KeyedLock();
  /** Active snapshots that are on disk and are not written any more, and what they measure. */
  readonly #settled = new Map<number, SnapshotUsage>();
  /** Those that are being put on disk, and of which nobody has asked for the mounts since. */
  readonly #settling = new Set<number>();

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#store = parts.store;
    this.#driver = parts.driver;
  }

  async stat(key: string): Promise<SnapshotInfo> {
    return this.#describe(this.#store.get(key));
  }

  async update(
    change: { readonly name: string; readonly labels: Labels },
    options: UpdateOptions = {},
  ): Promise<SnapshotInfo> {
    options.signal?.throwIfAborted();
    return this.#describe(await this.#store.update(change.name, change.labels, options.fieldpaths));
  }

  async usage(key: string, options: CallOptions = {}): Promise<SnapshotUsage> {
    const record = this.#store.get(key);
    return record.kind === "active" ? this.#driver.usage(record, this.#measuring(record, options)) : record.usage;
  }

  async mounts(key: string): Promise<readonly Mount[]> {
    const record = this.#store.get(key);
    if (record.kind === "committed") throw failedPrecondition(`snapshot ${key} is committed, it has no mounts`);
    // Whoever asks may write.
    this.#settled.delete(record.id);
    this.#settling.delete(record.id);
    return this.#mounts(record);
  }

  prepare(key: string, parent: string, options: SnapshotOptions = {}): Promise<readonly Mount[]> {
    return this.#create("active", key, parent, options);
  }

  view(key: string, parent: string, options: SnapshotOptions = {}): Promise<readonly Mount[]> {
    return this.#create("view", key, parent, options);
  }

  async commit(name: string, key: string, options: SnapshotCommitOptions = {}): Promise<void> {
    const { signal, labels, parent } = options;
    signal?.throwIfAborted();
    using _turn = await this.#turns.acquire(key, { signal });
    const active = this.#store.checkCommit({ key, name, labels, parent });
    if (!this.#driver.rebase && parent !== undefined && parent !== "" && parent !== active.parent) {
      throw invalidArgument(`commit snapshot ${key} on ${parent}: this snapshotter cannot rebase`);
    }
    try {
      await using undo = new AsyncDisposableStack();
      const measuring = this.#measuring(active, { signal });
      const sealed = undo.use(await this.#driver.seal?.(active, measuring));
      const settled = this.#settled.get(active.id);
      const measure = this.#driver.sealedUsage ?? this.#driver.usage;
      const usage = settled ?? (await this.#putOnDisk(active, measure.call(this.#driver, active, measuring)));
      this.#parts.durable.checkTrusted(active.id);
      signal?.throwIfAborted();
      await this.#store.commit({ key, name, usage, labels, parent });
      undo.move();
      this.#settled.delete(active.id);
      if (sealed !== undefined) await this.#finish(sealed, name);
    } catch (error) {
      throw wrapError(error, `commit snapshot ${key} as ${name}`);
    }
  }

  async settle(key: string, options: CallOptions = {}): Promise<void> {
    options.signal?.throwIfAborted();
    using _turn = await this.#turns.acquire(key, options);
    const record = this.#store.get(key);
    const isPlain = this.#driver.seal === undefined || this.#driver.isPlain?.(record) === true;
    // What a seal will make is neither on disk yet nor can be measured.
    if (record.kind !== "active" || !isPlain) return;
    this.#settling.add(record.id);
    try {
      const usage = await this.#putOnDisk(record, this.#driver.usage(record, this.#measuring(record, options)));
      if (this.#settling.has(record.id)) this.#settled.set(record.id, usage);
    } finally {
      this.#settling.delete(record.id);
    }
  }

  /** What does not change any more is measured while the disk writes it. */
  async #putOnDisk({ id }: SnapshotRecord, measured: Promise<SnapshotUsage>): Promise<SnapshotUsage> {
    const [usage] = await Promise.all([measured, this.#parts.durable.sync(id)]);
    return usage;
  }

  async remove(key: string, options: CallOptions = {}): Promise<void> {
    options.signal?.throwIfAborted();
    using _turn = await this.#turns.acquire(key, options);
    const { id, kind } = await this.#store.remove(key);
    this.#settled.delete(id);
    if (this.#parts.syncRemove) await this.#driver.places(kind).remove(id);
  }

  async *list(options: ListOptions = {}): AsyncIterable<SnapshotInfo> {
    const infos = this.#store.list().map((record) => this.#describe(record));
    yield* filterSnapshots(infos, options);
  }

  async cleanup(options: CallOptions = {}): Promise<void> {
    for (const place of this.#parts.places) {
      const kinds = KINDS.filter((kind) => this.#driver.places(kind) === place);
      await place.cleanup(() => this.#store.ids(kinds), options);
    }
  }

  async *listMissing(): AsyncIterable<string> {
    const ids = new Map<SnapshotPlaces, ReadonlySet<number>>();
    for (const place of this.#parts.places) ids.set(place, new Set(await place.ids()));
    for (const { name, kind, id } of this.#store.list()) {
      // A view may have no files of its own.
      if (kind !== "view" && ids.get(this.#driver.places(kind))?.has(id) !== true) yield name;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#parts.owned.disposeAsync();
  }

  async #create(
    kind: "active" | "view",
    key: string,
    parent: string,
    options: SnapshotOptions,
  ): Promise<readonly Mount[]> {
    const { labels = noLabels, signal } = options;
    signal?.throwIfAborted();
    this.#store.checkCreate({ key, parent, labels });
    const id = this.#store.nextId();
    const fill = this.#driver.filler({ kind, labels, parent: parent === "" ? undefined : this.#store.get(parent) });
    const place = this.#driver.places(kind);
    await using made = new AsyncDisposableStack();
    using _filling = this.#filling(id);
    if (fill !== undefined) made.use(await place.create(id, (path) => fill(path, { signal })));
    signal?.throwIfAborted();
    const record = await this.#store.create({ id, kind, key, parent, labels });
    made.move();
    place.adopted(id);
    return this.#mounts(record);
  }

  #filling(id: number): Disposable {
    const { filling } = this.#parts;
    filling.add(id);
    return { [Symbol.dispose]: () => void filling.delete(id) };
  }

  #measuring(record: SnapshotRecord, { signal }: CallOptions): MeasureOptions {
    return { signal, parent: record.parent === "" ? undefined : this.#store.get(record.parent) };
  }

  /** The commit stands, whatever becomes of this. */
  async #finish(sealed: SealedSnapshot, name: string): Promise<void> {
    await sealed.finish().catch((error: unknown) => {
      this.#parts.log.warn("failed to clean up after commit", { name, error: messageOf(error) });
    });
  }

  async #mounts(record: SnapshotRecord): Promise<readonly Mount[]> {
    return this.#driver.mounts(record, this.#store.ancestors(record));
  }

  #describe(record: SnapshotRecord): SnapshotInfo {
    const info = snapshotInfo(record);
    return this.#driver.describe?.(info, record) ?? info;
  }
}
