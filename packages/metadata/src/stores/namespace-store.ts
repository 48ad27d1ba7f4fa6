import {
  NamespaceCreateSchema,
  NamespaceDeleteSchema,
  NamespaceUpdateSchema,
} from "@berth/api/containerd/events/namespace";
import type { CallOptions } from "@berth/core/any";
import type { Labels } from "@berth/core/labels";
import { noLabels, toProtoLabels, validateLabels } from "@berth/core/labels";
import type { Namespace, NamespaceStore, SetLabelsOptions } from "@berth/core/namespaces";
import { parseNamespace } from "@berth/core/namespaces";
import { alreadyExists, failedPrecondition, invalidArgument, notFound } from "@berth/errors";

import type { MetadataDatabase } from "../database/metadata-database.ts";
import { compareBytes } from "../database/key-order.ts";
import type { Table } from "../database/table.ts";
import { blobs, containers, images, ingests, leases, namespaces, sandboxes, snapshots } from "../database/tables.ts";
import type { Transaction } from "../database/transaction.ts";
import { namespacePath } from "../database/transaction.ts";
import { storedLabels } from "./field-paths.ts";
import { deleteLease } from "./lease-manager.ts";

/** The namespaces of a database. */
export class DatabaseNamespaceStore implements NamespaceStore {
  readonly #database: MetadataDatabase;

  constructor(database: MetadataDatabase) {
    this.#database = database;
  }

  async create(name: Namespace, labels: Labels, options: CallOptions = {}): Promise<void> {
    parseNamespace(name);
    validateLabels(labels);
    await this.#database.update((tx) => {
      if (tx.has(namespaces, namespacePath(name))) throw alreadyExists(`namespace ${JSON.stringify(name)}`);
      tx.put(namespaces, namespacePath(name), storedLabels(labels));
      tx.emit(name, "/namespaces/create", NamespaceCreateSchema, { name, labels: toProtoLabels(labels) });
    }, options);
  }

  async labels(name: Namespace, options: CallOptions = {}): Promise<Labels> {
    options.signal?.throwIfAborted();
    return this.#database.index.find(namespaces, namespacePath(name)) ?? noLabels;
  }

  async setLabels(name: Namespace, change: Labels, options: SetLabelsOptions = {}): Promise<void> {
    const { told = change } = options;
    parseNamespace(name);
    if (change.has("")) throw invalidArgument(`label key of namespace ${JSON.stringify(name)} must not be empty`);
    validateLabels(change);
    await this.#database.update((tx) => {
      // Clients label a namespace before they write anything in it.
      const labels = tx.get(namespaces, namespacePath(name)) ?? noLabels;
      if (change.size > 0) tx.put(namespaces, namespacePath(name), storedLabels(new Map([...labels, ...change])));
      tx.emit(name, "/namespaces/update", NamespaceUpdateSchema, { name, labels: toProtoLabels(told) });
    }, options);
  }

  async *list(options: CallOptions = {}): AsyncIterable<Namespace> {
    options.signal?.throwIfAborted();
    const known = this.#database.index.buckets(namespaces).filter(({ size }) => size > 0);
    const names = known.map(({ namespace }) => namespace).sort(compareBytes);
    // Only parsed names are ever written.
    yield* names as Namespace[];
  }

  async delete(name: Namespace, options: CallOptions = {}): Promise<void> {
    await this.#database.update((tx) => {
      if (!tx.has(namespaces, namespacePath(name))) throw notFound(`namespace ${JSON.stringify(name)}`);
      const left = whatIsLeft(tx, name);
      if (left.length > 0) {
        throw failedPrecondition(
          `namespace ${JSON.stringify(name)} must be empty, but it still has ${left.join(", ")}`,
        );
      }
      // Nothing but leases, ingests and sandboxes is left; they go with their namespace.
      for (const { path } of tx.list(leases, name)) deleteLease(tx, name, path.key);
      for (const { path } of tx.list(ingests, name)) tx.delete(ingests, path);
      for (const { path } of tx.list(sandboxes, name)) tx.delete(sandboxes, path);
      tx.delete(namespaces, namespacePath(name));
      tx.markDirty();
      tx.emit(name, "/namespaces/delete", NamespaceDeleteSchema, { name });
    }, options);
  }
}

function whatIsLeft(tx: Transaction, name: Namespace): string[] {
  const has = <R>(table: Table<R>) => tx.list(table, name).length > 0;
  const left: string[] = [];
  if (has(images)) left.push("images");
  if (has(blobs)) left.push("blobs");
  if (has(containers)) left.push("containers");
  const snapshotters = new Set(tx.list(snapshots, name).map(({ path }) => path.group));
  for (const snapshotter of snapshotters) left.push(`snapshots on ${JSON.stringify(snapshotter)} snapshotter`);
  return left;
}
