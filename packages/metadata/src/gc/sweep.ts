import { SnapshotRemoveSchema } from "@berth/api/containerd/events/snapshot";
import { ImageDeleteSchema } from "@berth/api/containerd/services/images/v1/events";
import type { CollectibleItem } from "@berth/core/collector";
import type { Namespace } from "@berth/core/namespaces";

import type { MetadataDatabase } from "../database/metadata-database.ts";
import type { Bucket, RecordIndex } from "../database/record-index.ts";
import type { RecordPath } from "../database/record-key.ts";
import type { Table } from "../database/table.ts";
import { blobs, images, ingests, leases, snapshots } from "../database/tables.ts";
import type { Transaction } from "../database/transaction.ts";
import { deleteLeaseSlice } from "../stores/lease-manager.ts";
import { changeChildren } from "../stores/snapshot-record.ts";
import type { Collectibles } from "./collectibles.ts";
import type { Marker, Node } from "./marker.ts";
import { inSlices, runSlice } from "./slices.ts";

/** The kinds of records that are collected; containers and sandboxes only go when somebody deletes them. */
const SWEPT: readonly Table<unknown>[] = [leases, images, snapshots, ingests, blobs];

/** This returns the records that have not been marked. */
export async function findUnmarked(index: RecordIndex, marker: Marker): Promise<Node[]> {
  const unmarked: Node[] = [];
  const records = nodesOf(SWEPT.flatMap((table) => index.buckets(table)));
  await inSlices(() => {
    const { done, value } = records.next();
    if (done === true) return false;
    if (!marker.isMarked(value.bucket, value.key)) unmarked.push(value);
    return true;
  });
  return unmarked;
}

function* nodesOf(buckets: Iterable<Bucket<unknown>>): Generator<Node, undefined> {
  for (const bucket of buckets) for (const [key] of bucket.entries()) yield { bucket, key };
}

/**
 * This puts records before those that they hold. They are removed over several transactions: whoever comes to refer to one in
 * between finds all that it holds still there.
 */
export async function orderForRemoval(nodes: readonly Node[], marker: Marker): Promise<Node[]> {
  const waiting = new Map<Bucket<unknown>, Set<string>>();
  for (const { bucket, key } of nodes) {
    const keys = waiting.get(bucket);
    if (keys === undefined) waiting.set(bucket, new Set([key]));
    else keys.add(key);
  }
  const ordered: Node[] = [];
  const path: { readonly node: Node; readonly held: Iterator<Node> }[] = [];
  const enter = (node: Node): void => {
    if (waiting.get(node.bucket)?.delete(node.key) === true) path.push({ node, held: marker.held(node) });
  };
  let next = 0;
  await inSlices(() => {
    const top = path.at(-1);
    if (top === undefined) {
      const node = nodes[next++];
      if (node !== undefined) enter(node);
      return node !== undefined;
    }
    const { done, value } = top.held.next();
    // A record in a circle of references is entered once: there the order is any.
    if (done !== true) enter(value);
    else {
      ordered.push(top.node);
      path.pop();
    }
    return true;
  });
  return ordered.reverse();
}

/**
 * This removes the records that nobody has written or referred to since they were found, in transactions that are short for
 * those who wait, and tells `removed` of each.
 */
export async function sweepRecords(
  database: MetadataDatabase,
  marker: Marker,
  nodes: readonly Node[],
  removed: (node: Node) => void,
): Promise<void> {
  for (let next = 0; next < nodes.length;) {
    await marker.drain();
    const taken = await database.update(
      (tx) => {
        marker.drainNow();
        const gone: Node[] = [];
        runSlice(() => {
          const node = nodes[next];
          if (node === undefined) return false;
          const outcome = removeUnmarked(tx, marker, node);
          if (outcome === "removed") gone.push(node);
          // Of a large lease a part: the rest is for the next update, which others may come before.
          if (outcome === "begun") return false;
          next++;
          return true;
        });
        return gone;
      },
      { unwatched: true },
    );
    taken.forEach(removed);
  }
}

/** The same for what collectors offer. */
export async function sweepItems(
  database: MetadataDatabase,
  marker: Marker,
  collectibles: Collectibles,
  removed: (node: Node) => void,
): Promise<void> {
  const items = itemsOf(collectibles).filter(({ bucket, key }) => !marker.isMarked(bucket, key));
  let more = true;
  for (let item = items.next(); more && item.done !== true;) {
    await marker.drain();
    // Inside of an update nobody can come to refer to an item between the look at its mark and its removal.
    more = await database.update(
      () => {
        marker.drainNow();
        return runSlice(() => {
          if (item.done === true) return false;
          const { bucket, key, record } = item.value;
          if (!marker.isMarked(bucket, key)) {
            collectibles.remove(bucket, record);
            removed({ bucket, key });
          }
          item = items.next();
          return true;
        });
      },
      { unwatched: true },
    );
  }
}

function* itemsOf(collectibles: Collectibles): Generator<Node & { readonly record: CollectibleItem }, undefined> {
  for (const bucket of collectibles.buckets()) {
    for (const [key, record] of bucket.entries()) yield { bucket, key, record };
  }
}

function removeUnmarked(tx: Transaction, marker: Marker, { bucket, key }: Node): "removed" | "begun" | "kept" {
  const { table, namespace, group } = bucket;
  const path = { namespace, group, key };
  if (marker.isMarked(bucket, key) || !tx.has(table, path)) return "kept";
  if (table.prefix === leases.prefix) return deleteLeaseSlice(tx, namespace, key) ? "removed" : "begun";
  removeRecord(tx, table, path);
  return "removed";
}

function removeRecord(tx: Transaction, table: Table<unknown>, path: RecordPath): void {
  // Only parsed names are ever written.
  const namespace = path.namespace as Namespace;
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
