import { SnapshotRemoveSchema } from "@berth/api/containerd/events/snapshot";
import { ImageDeleteSchema } from "@berth/api/containerd/services/images/v1/events";
import type { Namespace } from "@berth/core/namespaces";

import type { Bucket, RecordIndex } from "../database/record-index.ts";
import type { RecordPath } from "../database/record-key.ts";
import type { Table } from "../database/table.ts";
import { blobs, images, ingests, leases, snapshots } from "../database/tables.ts";
import type { Transaction } from "../database/transaction.ts";
import { deleteLease } from "../stores/lease-manager.ts";
import { changeChildren } from "../stores/snapshot-record.ts";
import type { Marker } from "./marker.ts";
import { inSlices } from "./marker.ts";

/** The kinds of records that are collected; containers only go when somebody deletes them. */
const SWEPT: readonly Table<unknown>[] = [leases, images, snapshots, ingests, blobs];

/** A record that nothing referred to. */
export interface Candidate {
  readonly bucket: Bucket<unknown>;
  readonly key: string;
}

/** This returns what has not been marked. */
export async function findUnmarked(index: RecordIndex, marker: Marker, signal?: AbortSignal): Promise<Candidate[]> {
  const candidates: Candidate[] = [];
  const records = allRecords(index);
  await inSlices(() => {
    const { done, value } = records.next();
    if (done === true) return false;
    if (!marker.isMarked(value.bucket, value.key)) candidates.push({ bucket: value.bucket, key: value.key });
    return true;
  }, signal);
  return candidates;
}

/** This walks every record that can be collected. */
function* allRecords(index: RecordIndex): Generator<Candidate, undefined> {
  for (const table of SWEPT) {
    for (const bucket of index.buckets(table)) {
      for (const [key] of bucket.entries()) yield { bucket, key };
    }
  }
}

/** This removes the candidates that nobody has written or referred to since they were found, and returns those. */
export function sweep(tx: Transaction, marker: Marker, candidates: readonly Candidate[]): Candidate[] {
  marker.drainNow();
  return candidates.filter(({ bucket, key }) => {
    const path = { namespace: bucket.namespace, group: bucket.group, key };
    if (marker.isMarked(bucket, key) || !tx.has(bucket.table, path)) return false;
    removeRecord(tx, bucket.table, path);
    return true;
  });
}

function removeRecord(tx: Transaction, table: Table<unknown>, path: RecordPath): void {
  // Only parsed names are ever written.
  const namespace = path.namespace as Namespace;
  if (table.prefix === leases.prefix) {
    deleteLease(tx, namespace, path.key);
    return;
  }
  if (table.prefix === snapshots.prefix) {
    const parent = tx.get(snapshots, path)?.parent ?? "";
    tx.delete(table, path);
    changeChildren(tx, { ...path, key: parent }, -1);
    tx.emit(namespace, "/snapshot/remove", SnapshotRemoveSchema, { key: path.key, snapshotter: path.group });
    return;
  }
  tx.delete(table, path);
  if (table.prefix === images.prefix) tx.emit(namespace, "/images/delete", ImageDeleteSchema, { name: path.key });
}
