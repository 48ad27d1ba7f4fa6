import { mkdir } from "node:fs/promises";
import { join } from "node:path";

import type { CallOptions } from "@berth/core/any";
import type { ListOptions, UpdateOptions } from "@berth/core/content";
import type { Labels } from "@berth/core/labels";
import { noLabels } from "@berth/core/labels";
import { type Logger, silentLogger } from "@berth/core/log";
import type { Mount } from "@berth/core/mount";
import type {
  SnapshotCommitOptions,
  SnapshotInfo,
  SnapshotOptions,
  Snapshotter,
  SnapshotUsage,
} from "@berth/core/snapshots";
import { failedPrecondition, invalidArgument, wrapError } from "@berth/errors";

import { DurableDirectory } from "./durable-directory.ts";
import { SnapshotDirectories } from "./snapshot-directories.ts";
import { filterSnapshots } from "./store/filter-snapshots.ts";
import { snapshotInfo, type SnapshotRecord } from "./store/snapshot-record.ts";
import { SnapshotStore } from "./store/snapshot-store.ts";
import { TreeWorkers } from "./tree-workers.ts";

/** What a driver is told of a snapshot whose directory it fills. */
export interface DirectoryRequest {
  readonly kind: "active" | "view";
  readonly labels: Labels;
  readonly parent: SnapshotRecord | undefined;
}

/** The part of a snapshotter that is not keys and parents: what is in the directory of a snapshot and how it is mounted. */
export interface DirectoryDriver {
  /** Whether a snapshot may get its parent at its commit. */
  readonly rebase: boolean;
  /** Absent when the snapshot needs no directory of its own. */
  filler(request: DirectoryRequest): ((path: string, options: CallOptions) => Promise<void>) | undefined;
  /** The directory whose content is the snapshot, measured for its usage. */
  contentPath(id: number): string;
  /** @param ancestors - the parent first */
  mounts(record: SnapshotRecord, ancestors: readonly SnapshotRecord[]): readonly Mount[];
  /** What is told of a snapshot beside what is stored. */
  describe?(info: SnapshotInfo, record: SnapshotRecord): SnapshotInfo;
}

/** Options that all drivers on directories share. */
export interface DirectorySnapshotterOptions {
  /** Directory of the snapshotter; made, mode 0700, when missing. One process may use it at a time. */
  readonly root: string;
  /** Remove the directory of a snapshot before `remove` answers; otherwise `cleanup` does. */
  readonly syncRemove?: boolean;
  /** Put a snapshot on disk before its commit answers; default true. */
  readonly syncFs?: boolean;
  readonly log?: Logger;
  /** Called once when the database of the snapshotter cannot be trusted any more: the program must stop. */
  readonly fatal?: ((error: Error) => void) | undefined;
}

/** This opens a snapshotter whose driver keeps each snapshot in a directory. */
export async function openDirectorySnapshotter(
  options: DirectorySnapshotterOptions,
  makeDriver: (directories: SnapshotDirectories, trees: TreeWorkers) => DirectoryDriver,
): Promise<Snapshotter> {
  const { root, log = silentLogger, fatal, syncFs = true, syncRemove = false } = options;
  await mkdir(root, { recursive: true, mode: 0o700 });
  await using opened = new AsyncDisposableStack();
  const trees = opened.use(new TreeWorkers());
  const directories = await SnapshotDirectories.open({ path: join(root, "snapshots"), trees, log });
  const usedIds = await directories.ids();
  const store = opened.use(await SnapshotStore.open({ path: join(root, "metadata.mdb"), log, fatal, usedIds }));
  const durable = opened.use(await DurableDirectory.open(root, { active: () => store.activeIds(), enabled: syncFs }));
  const driver = makeDriver(directories, trees);
  return new DirectorySnapshotter({ driver, directories, trees, durable, store, syncRemove, owned: opened.move() });
}

interface Parts {
  readonly driver: DirectoryDriver;
  readonly directories: SnapshotDirectories;
  readonly trees: TreeWorkers;
  readonly durable: DurableDirectory;
  readonly store: SnapshotStore;
  readonly syncRemove: boolean;
  readonly owned: AsyncDisposableStack;
}

class DirectorySnapshotter implements Snapshotter {
  readonly #parts: Parts;
  readonly #store: SnapshotStore;
  readonly #driver: DirectoryDriver;

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
    return record.kind === "active"
      ? this.#parts.trees.usage(this.#driver.contentPath(record.id), options)
      : record.usage;
  }

  async mounts(key: string): Promise<readonly Mount[]> {
    const record = this.#store.get(key);
    if (record.kind === "committed") throw failedPrecondition(`snapshot ${key} is committed, it has no mounts`);
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
    const active = this.#store.checkCommit({ key, name, labels, parent });
    if (!this.#driver.rebase && parent !== undefined && parent !== "" && parent !== active.parent) {
      throw invalidArgument(`commit snapshot ${key} on ${parent}: this snapshotter cannot rebase`);
    }
    try {
      const usage = await this.#parts.trees.usage(this.#driver.contentPath(active.id), { signal });
      await this.#parts.durable.sync(active.id);
      signal?.throwIfAborted();
      await this.#store.commit({ key, name, usage, labels, parent });
    } catch (error) {
      throw wrapError(error, `commit snapshot ${key} as ${name}`);
    }
  }

  async remove(key: string, options: CallOptions = {}): Promise<void> {
    options.signal?.throwIfAborted();
    const { id } = await this.#store.remove(key);
    if (this.#parts.syncRemove) await this.#parts.directories.remove(id);
  }

  async *list(options: ListOptions = {}): AsyncIterable<SnapshotInfo> {
    const infos = this.#store.list().map((record) => this.#describe(record));
    yield* filterSnapshots(infos, options);
  }

  async cleanup(options: CallOptions = {}): Promise<void> {
    await this.#parts.directories.cleanup(() => this.#store.ids(), options);
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
    await using made = new AsyncDisposableStack();
    if (fill !== undefined) {
      made.use(await this.#parts.directories.create(id, (path) => fill(path, { signal })));
    }
    signal?.throwIfAborted();
    const record = await this.#store.create({ id, kind, key, parent, labels });
    made.move();
    this.#parts.directories.adopted(id);
    return this.#mounts(record);
  }

  #mounts(record: SnapshotRecord): readonly Mount[] {
    return this.#driver.mounts(record, this.#store.ancestors(record));
  }

  #describe(record: SnapshotRecord): SnapshotInfo {
    const info = snapshotInfo(record);
    return this.#driver.describe?.(info, record) ?? info;
  }
}
