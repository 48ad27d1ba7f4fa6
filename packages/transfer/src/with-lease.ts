import { randomBytes } from "node:crypto";

import { LeaseLabel } from "@berth/core/leases";
import type { MetadataStore, NamespacedStores } from "@berth/core/metadata";
import type { Namespace } from "@berth/core/namespaces";
import type { TransferOptions } from "@berth/core/transfer";
import { isNotFound } from "@berth/errors";

const DAY_MS = 24 * 60 * 60 * 1000;

/** A namespace as a transfer uses it. */
export interface LeasedStores {
  readonly stores: NamespacedStores;
  readonly lease: string;
}

/**
 * This runs `work` under the caller's lease, or under one of its own, which is deleted afterwards, whatever the outcome; should the
 * daemon die before, it ends after a day.
 */
export async function withLease<T>(
  metadata: MetadataStore,
  namespace: Namespace,
  { lease, signal }: TransferOptions,
  work: (leased: LeasedStores) => Promise<T>,
): Promise<T> {
  if (lease !== undefined) return work({ stores: metadata.namespace(namespace, { lease }), lease });
  const { leases } = metadata.namespace(namespace);
  const id = `transfer-${Date.now()}-${randomBytes(4).toString("hex")}`;
  const expire = new Date(Date.now() + DAY_MS).toISOString();
  await leases.create({ id, labels: new Map([[LeaseLabel.expire, expire]]) }, { signal });
  await using undo = new AsyncDisposableStack();
  undo.defer(async () => {
    try {
      // Without the caller's signal, so that a cancelled transfer does not hold its garbage for a day.
      await leases.delete(id);
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  });
  return await work({ stores: metadata.namespace(namespace, { lease: id }), lease: id });
}
