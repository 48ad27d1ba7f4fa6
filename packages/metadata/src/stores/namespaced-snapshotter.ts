import { SnapshotRemoveSchema } from "@berth/api/containerd/events/snapshot";
import type { CallOptions } from "@berth/core/any";
import type { ListOptions, UpdateOptions } from "@berth/core/content";
import type { Labels } from "@berth/core/labels";
import { validateLabels } from "@berth/core/labels";
import type { Mount } from "@berth/core/mount";
import type {
  SnapshotCommitOptions,
  SnapshotInfo,
  SnapshotOptions,
  Snapshotter,
  SnapshotUsage,
} from "@berth/core/snapshots";
import { failedPrecondition, invalidArgument, notFound } from "@berth/errors";
import { adapt } from "@berth/filters";

import type { SnapshotRecord } from "../database/tables.ts";
import { snapshots } from "../database/tables.ts";
import type { BackendSnapshotter } from "./backend-snapshotter.ts";
import { commitSnapshot } from "./commit-snapshot.ts";
import { createSnapshot } from "./create-snapshot.ts";
import { storedLabels, updateLabels } from "./field-paths.ts";
import { detachFromLease } from "./lease-resource.ts";
import { listRecords } from "./list-records.ts";
import type { Scope } from "./scope.ts";
import { pathIn } from "./scope.ts";
import { changeChildren, inheritedLabels, sameLabels } from "./snapshot-record.ts";

/**
 * The snapshots of one namespace: keys, parents and labels here, file systems in a snapshotter that knows no namespaces.
 * What is removed here stays in the backend until the collector comes.
 */
export class NamespacedSnapshotter implements Snapshotter {
  readonly #scope: Scope;
  readonly #backend: BackendSnapshotter;

  constructor(scope: Scope, backend: BackendSnapshotter) {
    this.#scope = scope;
    this.#backend = backend;
  }

  async stat(key: string, options: CallOptions = {}): Promise<SnapshotInfo> {
    const record = this.#require(key);
    return mergeInfo(record, await this.#backend.snapshotter.stat(record.backendKey, options));
  }

  async update(
    change: { readonly name: string; readonly labels: Labels },
    options: UpdateOptions = {},
  ): Promise<SnapshotInfo> {
    const { name } = change;
    using _lock = await this.#backend.locks.acquire([`${this.#scope.namespace}/${name}`]);
    const current = this.#require(name);
    const labels = updateLabels(current.labels, change.labels, options.fieldpaths);
    if (labels === undefined) {
      throw invalidArgument(
        `cannot update ${JSON.stringify(options.fieldpaths)} fields of snapshot ${JSON.stringify(name)}`,
      );
    }
    validateLabels(labels);
    const stored = storedLabels(labels);
    const inherited = inheritedLabels(stored);
    if (!sameLabels(inherited, inheritedLabels(current.labels))) {
      const backendChange = { name: current.backendKey, labels: inherited };
      await this.#backend.snapshotter.update(backendChange, { ...options, fieldpaths: ["labels"] });
    }
    await this.#scope.database.update((tx) => {
      const record = tx.get(snapshots, this.#path(name));
      if (record === undefined) throw notFound(`snapshot ${JSON.stringify(name)}`);
      tx.put(snapshots, this.#path(name), { ...record, labels: stored, updatedAt: Date.now() });
    }, options);
    return this.stat(name, options);
  }

  usage(key: string, options: CallOptions = {}): Promise<SnapshotUsage> {
    return this.#forward(key, ({ backendKey }) => this.#backend.snapshotter.usage(backendKey, options));
  }

  mounts(key: string, options: CallOptions = {}): Promise<readonly Mount[]> {
    return this.#forward(key, ({ backendKey }) => this.#backend.snapshotter.mounts(backendKey, options));
  }

  prepare(key: string, parent: string, options: SnapshotOptions = {}): Promise<readonly Mount[]> {
    return createSnapshot(this.#scope, this.#backend, { kind: "prepare", key, parent }, options);
  }

  view(key: string, parent: string, options: SnapshotOptions = {}): Promise<readonly Mount[]> {
    return createSnapshot(this.#scope, this.#backend, { kind: "view", key, parent }, options);
  }

  commit(name: string, key: string, options: SnapshotCommitOptions = {}): Promise<void> {
    return commitSnapshot(this.#scope, this.#backend, { name, key }, options);
  }

  async settle(key: string, options: CallOptions = {}): Promise<void> {
    await this.#forward(key, async ({ backendKey }) => this.#backend.snapshotter.settle?.(backendKey, options));
  }

  async remove(key: string, options: CallOptions = {}): Promise<void> {
    const { name } = this.#backend;
    this.#require(key);
    await this.#scope.database.update((tx) => {
      const record = tx.get(snapshots, this.#path(key));
      if (record === undefined) throw notFound(`snapshot ${JSON.stringify(key)}`);
      if (record.children > 0)
        throw failedPrecondition(`cannot remove snapshot ${JSON.stringify(key)}: it has children`);
      tx.delete(snapshots, this.#path(key));
      changeChildren(tx, this.#path(record.parent), -1);
      detachFromLease(tx, this.#scope, `snapshots/${name}`, key);
      tx.markDirty();
      tx.emit(this.#scope.namespace, "/snapshot/remove", SnapshotRemoveSchema, { key, snapshotter: name });
    }, options);
  }

  list(options: ListOptions = {}): AsyncIterable<SnapshotInfo> {
    const fields = ({ kind, name, parent, labels }: SnapshotInfo) => adapt({ kind, name, parent }, { labels });
    return listRecords(this.#infos(options), fields, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // The backend belongs to who opened it.
  }

  async *#infos({ signal }: CallOptions): AsyncIterable<SnapshotInfo> {
    const backend = new Map<string, SnapshotInfo>();
    for await (const info of this.#backend.snapshotter.list({ signal })) backend.set(info.name, info);
    const { database, namespace } = this.#scope;
    for (const record of database.index.bucket(snapshots, namespace, this.#backend.name).sorted()) {
      const info = backend.get(record.backendKey);
      // One that was made after the backend was read is left out, as if the list had been read earlier.
      if (info !== undefined) yield mergeInfo(record, info);
    }
  }

  async #forward<T>(key: string, call: (record: SnapshotRecord) => Promise<T>): Promise<T> {
    return call(this.#require(key));
  }

  #require(key: string): SnapshotRecord {
    const record = this.#scope.database.index.find(snapshots, this.#path(key));
    if (record === undefined) throw notFound(`snapshot ${JSON.stringify(key)}`);
    return record;
  }

  #path(key: string) {
    return pathIn(this.#scope, key, this.#backend.name);
  }
}

/** The record says what the snapshot is called here; the backend what it is. */
function mergeInfo(record: SnapshotRecord, info: SnapshotInfo): SnapshotInfo {
  const { key, parent, createdAt, updatedAt } = record;
  const labels = new Map([...info.labels, ...record.labels]);
  return { kind: info.kind, name: key, parent, labels, createdAt, updatedAt };
}
