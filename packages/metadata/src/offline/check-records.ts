import type { Labels } from "@berth/core/labels";

import type { Bucket, RecordIndex } from "../database/record-index.ts";
import { encodeRecordKey } from "../database/record-key.ts";
import type { Table } from "../database/table.ts";
import {
  allTables,
  blobs,
  containers,
  images,
  leaseResources,
  leases,
  namespaces,
  sandboxes,
  snapshots,
} from "../database/tables.ts";
import { namespacePath } from "../database/transaction.ts";
import { labelReferences } from "../gc/label-references.ts";
import { parseLeaseResource } from "../stores/lease-resource.ts";
import type { Finding } from "./finding.ts";
import type { OfflineDatabase } from "./offline-database.ts";

const LABELLED = [images, containers, sandboxes, blobs, snapshots];

/** This finds what is wrong with the records themselves, and between them. */
export function* checkRecords(database: OfflineDatabase): Iterable<Finding> {
  const { index } = database;
  for (const { key, table, reason } of database.damaged) {
    yield {
      severity: "error",
      kind: "damaged-record",
      subject: `entry ${Buffer.from(key).toString("hex")}${table === undefined ? "" : ` of ${table}`}`,
      detail: reason,
      repair: { action: "remove the entry", change: (tx) => tx.removeEntry(key) },
    };
  }
  yield* checkNamespaces(index);
  yield* checkImages(index);
  yield* checkContainers(index);
  yield* checkSnapshots(index);
  yield* checkLeases(index);
  yield* checkLabels(index);
}

/** A record in a namespace without its own record is not found by lists of namespaces. */
function* checkNamespaces(index: RecordIndex): Iterable<Finding> {
  const used = new Set(allTables.flatMap((table) => namespacesOf(index, table)));
  for (const namespace of used) {
    if (index.find(namespaces, namespacePath(namespace)) !== undefined) continue;
    yield {
      severity: "error",
      kind: "missing-namespace",
      namespace,
      subject: `namespace ${namespace}`,
      detail: "it has records, but none of its own",
      repair: {
        action: "make the record of the namespace",
        change: (tx) => tx.put(namespaces, namespacePath(namespace), new Map()),
      },
    };
  }
}

function namespacesOf<R>(index: RecordIndex, table: Table<R>): string[] {
  return index
    .buckets(table)
    .filter(({ size }) => size > 0)
    .map(({ namespace }) => namespace);
}

function* checkImages(index: RecordIndex): Iterable<Finding> {
  for (const { namespace, record } of recordsOf(index.buckets(images))) {
    if (index.find(blobs, { namespace, group: "", key: record.target.digest }) !== undefined) continue;
    yield {
      severity: "error",
      kind: "missing-target",
      namespace,
      subject: `image ${record.name}`,
      detail: `its target ${record.target.digest} is not there: pull it again`,
    };
  }
}

function* checkContainers(index: RecordIndex): Iterable<Finding> {
  for (const { namespace, record } of recordsOf(index.buckets(containers))) {
    const { id, snapshotter, snapshotKey } = record;
    if (snapshotKey === "" || index.find(snapshots, { namespace, group: snapshotter, key: snapshotKey })) continue;
    yield {
      severity: "error",
      kind: "missing-snapshot-of-container",
      namespace,
      subject: `container ${id}`,
      detail: `its snapshot ${snapshotKey} of ${snapshotter} is not there`,
    };
  }
}

function* checkSnapshots(index: RecordIndex): Iterable<Finding> {
  for (const bucket of index.buckets(snapshots)) {
    const { namespace, group } = bucket;
    const children = new Map<string, number>();
    for (const [, { parent }] of bucket.entries()) children.set(parent, (children.get(parent) ?? 0) + 1);
    for (const [key, record] of bucket.entries()) {
      const subject = `snapshot ${key} of ${group}`;
      if (record.parent !== "" && !bucket.has(record.parent)) {
        const detail = `its parent ${record.parent} is not there`;
        yield { severity: "error", kind: "missing-parent", namespace, subject, detail };
      }
      const count = children.get(key) ?? 0;
      if (count === record.children) continue;
      yield {
        severity: "error",
        kind: "wrong-children",
        namespace,
        subject,
        detail: `it counts ${record.children} children and has ${count}`,
        repair: {
          action: `set the number of children to ${count}`,
          change: (tx) => {
            const path = { namespace, group, key };
            const current = tx.get(snapshots, path);
            if (current !== undefined) tx.put(snapshots, path, { ...current, children: count });
          },
        },
      };
    }
  }
}

function* checkLeases(index: RecordIndex): Iterable<Finding> {
  for (const { namespace, group, key, record } of recordsOf(index.buckets(leaseResources))) {
    const subject = `lease ${group}`;
    if (index.find(leases, { namespace, group: "", key: group }) === undefined) {
      yield {
        severity: "warning",
        kind: "resource-without-lease",
        namespace,
        subject,
        detail: `there is no such lease, but it holds ${record.type} ${record.id}`,
        repair: {
          action: "remove what it holds",
          change: (tx) => tx.removeEntry(encodeRecordKey(leaseResources.prefix, { namespace, group, key }).key),
        },
      };
    } else if (!isThere(index, namespace, record)) {
      const detail = `it holds ${record.type} ${record.id}, which is not there`;
      yield { severity: "info", kind: "dangling-lease", namespace, subject, detail };
    }
  }
}

function isThere(index: RecordIndex, namespace: string, resource: { type: string; id: string }): boolean {
  const parsed = parseLeaseResource(resource);
  if (parsed.kind === "snapshots") {
    return index.find(snapshots, { namespace, group: parsed.snapshotter, key: parsed.id }) !== undefined;
  }
  if (parsed.kind === "ingests") return true;
  const path = { namespace, group: "", key: parsed.id };
  return index.find<unknown>(parsed.kind === "content" ? blobs : images, path) !== undefined;
}

/** An index refers to the manifests of platforms that nobody fetched: what labels miss is no error. */
function* checkLabels(index: RecordIndex): Iterable<Finding> {
  for (const table of LABELLED) {
    for (const { namespace, key, record } of recordsOf(index.buckets<{ readonly labels: Labels }>(table))) {
      for (const { table: to, group, key: target } of labelReferences(record.labels)) {
        // What is outside of the database is not looked at.
        if (!allTables.includes(to) || index.find(to, { namespace, group, key: target }) !== undefined) continue;
        const detail = `a label refers to ${to.name} ${target}, which is not there`;
        yield { severity: "info", kind: "dangling-label", namespace, subject: `${table.name} ${key}`, detail };
      }
    }
  }
}

interface Placed<R> {
  readonly namespace: string;
  readonly group: string;
  readonly key: string;
  readonly record: R;
}

function* recordsOf<R>(buckets: readonly Bucket<R>[]): Generator<Placed<R>, undefined> {
  for (const bucket of buckets) {
    const { namespace, group } = bucket;
    for (const [key, record] of bucket.entries()) yield { namespace, group, key, record };
  }
}
