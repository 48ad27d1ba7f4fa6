import type { LeaseResource } from "@berth/core/leases";
import { invalidArgument, notFound, unimplemented } from "@berth/errors";
import { isDigest } from "@berth/oci";

import { leaseResources, leases } from "../database/tables.ts";
import type { Transaction } from "../database/transaction.ts";
import type { Scope } from "./scope.ts";
import { pathIn } from "./scope.ts";

/** What a lease resource names, with its type taken apart. */
export type ParsedResource =
  | { readonly kind: "content" | "ingests" | "images"; readonly id: string }
  | { readonly kind: "snapshots"; readonly snapshotter: string; readonly id: string };

/**
 * This takes a lease resource apart.
 *
 * @throws unimplemented - unknown type
 * @throws invalid_argument - too many or too few parts of the type, or no digest where one is needed
 * @see containerd core/metadata/leases.go, parseLeaseResource
 */
export function parseLeaseResource({ id, type }: LeaseResource): ParsedResource {
  const [kind = "", ...rest] = type.split("/");
  switch (kind) {
    case "content":
    case "ingests":
    case "images":
      if (rest.length > 0) throw invalidArgument(`invalid resource type ${JSON.stringify(type)}`);
      if (id === "") throw invalidArgument(`lease resource of type ${type} must have an id`);
      if (kind === "content" && !isDigest(id))
        throw invalidArgument(`invalid resource id ${JSON.stringify(id)}: not a digest`);
      return { kind, id };
    case "snapshots": {
      const [snapshotter] = rest;
      if (snapshotter === undefined || snapshotter === "" || rest.length > 1) {
        throw invalidArgument(`invalid snapshot resource type ${JSON.stringify(type)}`);
      }
      if (id === "") throw invalidArgument(`lease resource of type ${type} must have an id`);
      return { kind, snapshotter, id };
    }
    default:
      throw unimplemented(`resource type ${JSON.stringify(type)} not supported yet`);
  }
}

/** This returns the key of a resource within its lease. */
export function resourceKey({ id, type }: LeaseResource): string {
  // The type comes first with its length, so that no two resources meet.
  return `${type.length}:${type}${id}`;
}

/** This adds to the lease of a view, if it has one. @throws not_found - there is no such lease */
export function attachToLease(tx: Transaction, scope: Scope, type: string, id: string): boolean {
  if (scope.lease === undefined) return false;
  if (!tx.has(leases, pathIn(scope, scope.lease))) throw notFound(`lease ${JSON.stringify(scope.lease)}`);
  const resource = { type, id };
  tx.put(leaseResources, pathIn(scope, resourceKey(resource), scope.lease), resource);
  return true;
}

/** This removes from the lease of a view, if it has one; other leases keep theirs. */
export function detachFromLease(tx: Transaction, scope: Scope, type: string, id: string): void {
  if (scope.lease === undefined) return;
  tx.delete(leaseResources, pathIn(scope, resourceKey({ type, id }), scope.lease));
}

/** This fails early for an unknown lease, before a backend is touched. @throws not_found */
export function requireLease({ database, namespace, lease }: Scope): void {
  if (lease === undefined) return;
  if (!database.index.bucket(leases, namespace).has(lease)) throw notFound(`lease ${JSON.stringify(lease)}`);
}
