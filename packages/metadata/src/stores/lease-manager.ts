import type { CallOptions } from "@berth/core/any";
import type { ListOptions } from "@berth/core/content";
import type { DeleteOptions } from "@berth/core/images";
import type { Labels } from "@berth/core/labels";
import { validateLabels } from "@berth/core/labels";
import type { Lease, LeaseManager, LeaseResource } from "@berth/core/leases";
import { alreadyExists, invalidArgument, notFound } from "@berth/errors";
import { adapt } from "@berth/filters";

import { leaseResources, leases } from "../database/tables.ts";
import type { Transaction } from "../database/transaction.ts";
import { storedLabels } from "./field-paths.ts";
import { parseLeaseResource, resourceKey } from "./lease-resource.ts";
import { listRecords } from "./list-records.ts";
import type { Scope } from "./scope.ts";
import { pathIn } from "./scope.ts";

/** Leases of one namespace, in the database. */
export class DatabaseLeaseManager implements LeaseManager {
  readonly #scope: Scope;

  constructor(scope: Scope) {
    this.#scope = scope;
  }

  async create(lease: { readonly id: string; readonly labels: Labels }, options: CallOptions = {}): Promise<Lease> {
    if (lease.id === "") throw invalidArgument("lease id must be provided");
    validateLabels(lease.labels);
    return this.#scope.database.update((tx) => {
      const path = pathIn(this.#scope, lease.id);
      if (tx.has(leases, path)) throw alreadyExists(`lease ${JSON.stringify(lease.id)}`);
      const created: Lease = { id: lease.id, labels: storedLabels(lease.labels), createdAt: Date.now() };
      tx.put(leases, path, created);
      return created;
    }, options);
  }

  async delete(id: string, options: DeleteOptions = {}): Promise<void> {
    const { database, namespace } = this.#scope;
    const deleteSome = (tx: Transaction): boolean => {
      this.#require(tx, id);
      tx.markDirty();
      return deleteLeaseSlice(tx, namespace, id);
    };
    while (!(await database.update(deleteSome, options)));
    if (options.sync === true) await this.#scope.collect(options);
  }

  list(options: ListOptions = {}): AsyncIterable<Lease> {
    const { database, namespace } = this.#scope;
    const adaptor = ({ id, labels }: Lease) => adapt({ id }, { labels });
    return listRecords(database.index.bucket(leases, namespace).sorted(), adaptor, options);
  }

  async addResource(id: string, resource: LeaseResource, options: CallOptions = {}): Promise<void> {
    parseLeaseResource(resource);
    await this.#scope.database.update((tx) => {
      this.#require(tx, id);
      const { type, id: resourceId } = resource;
      tx.put(leaseResources, pathIn(this.#scope, resourceKey(resource), id), { type, id: resourceId });
    }, options);
  }

  async deleteResource(id: string, resource: LeaseResource, options: CallOptions = {}): Promise<void> {
    parseLeaseResource(resource);
    await this.#scope.database.update((tx) => {
      this.#require(tx, id);
      tx.delete(leaseResources, pathIn(this.#scope, resourceKey(resource), id));
      tx.markDirty();
    }, options);
  }

  async *listResources(id: string, options: CallOptions = {}): AsyncIterable<LeaseResource> {
    options.signal?.throwIfAborted();
    const { database, namespace } = this.#scope;
    if (!database.index.bucket(leases, namespace).has(id)) throw notFound(`lease ${JSON.stringify(id)}`);
    yield* database.index.bucket(leaseResources, namespace, id).sorted();
  }

  #require(tx: Transaction, id: string): void {
    if (!tx.has(leases, pathIn(this.#scope, id))) throw notFound(`lease ${JSON.stringify(id)}`);
  }
}

/** So many resources a lease lets go of in one update: who waits for the loop must not wait for a lease that holds a hundred thousand. */
const RELEASED_AT_ONCE = 1000;

/**
 * This lets a lease go of some of what it holds and, when nothing is left, removes it; it returns whether it has. A deletion that is cut off between two slices
 * leaves the lease with what is left.
 */
export function deleteLeaseSlice(tx: Transaction, namespace: string, id: string): boolean {
  const held = tx.list(leaseResources, namespace, id, RELEASED_AT_ONCE);
  for (const { path } of held) tx.delete(leaseResources, path);
  const isAll = held.length < RELEASED_AT_ONCE;
  if (isAll) tx.delete(leases, { namespace, group: "", key: id });
  return isAll;
}

/** This removes a lease and all that it holds. */
export function deleteLease(tx: Transaction, namespace: string, id: string): void {
  while (!deleteLeaseSlice(tx, namespace, id));
}
