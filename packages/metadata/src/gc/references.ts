import type { CollectibleItem } from "@berth/core/collector";
import type { Labels } from "@berth/core/labels";
import type { LeaseResource } from "@berth/core/leases";
import { LeaseLabel } from "@berth/core/leases";
import type { Logger } from "@berth/core/log";

import type { RecordIndex } from "../database/record-index.ts";
import type { Table } from "../database/table.ts";
import {
  blobs,
  containers,
  images,
  ingests,
  leaseResources,
  leases,
  sandboxes,
  snapshots,
} from "../database/tables.ts";
import { collectibleTables } from "./collectible-table.ts";
import type { Collectibles } from "./collectibles.ts";
import type { LabelTarget } from "./label-references.ts";
import { backReferences, conditionalReferences, labelReferences } from "./label-references.ts";
import { parseRfc3339 } from "./rfc3339.ts";

/** One thing that a record holds on to. Flat: nothing beyond it, but for parents of snapshots and targets of images. */
export interface Reference extends LabelTarget {
  readonly flat: boolean;
}

const ROOT_LABEL = "containerd.io/gc.root";
const RESOURCE_TABLES: ReadonlyMap<string, Table<unknown>> = new Map<string, Table<unknown>>([
  ["content", blobs],
  ["ingests", ingests],
  ["images", images],
]);

/** Where a record stands, without its key. */
export interface Place {
  readonly table: Table<unknown>;
  readonly namespace: string;
  readonly group: string;
}

/** Says which records are roots, and what each record holds; one set of rules for marking and for writes that come meanwhile. */
export interface ReferenceRules {
  /** Whether a record lives without being referred to. */
  isRoot(place: Place, record: unknown): boolean;
  references(place: Place, record: unknown, flat: boolean): Iterable<Reference>;
  /** What keeps a record alive that is no root. */
  backReferences(place: Place, record: unknown): Iterable<LabelTarget>;
}

interface Rule<R> {
  readonly isRoot: (record: R, place: Place) => boolean;
  readonly references: (record: R, place: Place, flat: boolean) => Iterable<Reference>;
  readonly backReferences?: (record: R) => Iterable<LabelTarget>;
}

/** What the rules of one collection are made from. */
export interface RuleSources {
  readonly index: RecordIndex;
  readonly collectibles: Collectibles;
  /** Ingests that are being written are roots. */
  isIngestOpen(namespace: string, ref: string): boolean;
  /** What has expired by then has expired. */
  readonly now: number;
  readonly log: Logger;
}

/**
 * This makes the rules of a collection.
 *
 * @see containerd core/metadata/gc.go
 */
export function referenceRules(sources: RuleSources): ReferenceRules {
  const { index, now } = sources;
  const rules = new Map<number, Rule<unknown>>();
  // Each rule is only given records of the table under whose prefix it stands.
  const define = <R>(table: Table<R>, rule: Rule<R>) => rules.set(table.prefix, rule as Rule<unknown>);
  define(leases, {
    isRoot: (lease) => !hasExpired(lease.labels, { lease: lease.id }, sources),
    references: ({ id, labels }, { namespace }) => heldByLease(sources, namespace, id, labels),
  });
  // Never marked itself: this is for one that is written while its lease has been marked already.
  define(leaseResources, {
    isRoot: () => false,
    references: (resource) => resourceReferences(resource, false),
  });
  define(images, {
    isRoot: ({ name, labels }) => !hasExpired(labels, { image: name }, sources),
    references: ({ target, labels }, place, flat) =>
      withLabels(labels, place, flat, [blobReference(target.digest, flat)]),
    backReferences: ({ labels }) => backReferences(labels),
  });
  define(containers, {
    isRoot: () => true,
    references: ({ snapshotter, snapshotKey, labels }) => [
      ...(snapshotKey === "" ? [] : [{ table: snapshots, group: snapshotter, key: snapshotKey, flat: false }]),
      ...fullReferences(labels),
    ],
  });
  define(sandboxes, { isRoot: () => true, references: ({ labels }) => fullReferences(labels) });
  define(blobs, {
    isRoot: ({ labels }) => labels.has(ROOT_LABEL),
    references: ({ labels }, place, flat) => withLabels(labels, place, flat, []),
    backReferences: ({ labels }) => backReferences(labels),
  });
  define(snapshots, {
    isRoot: ({ labels }) => labels.has(ROOT_LABEL),
    references: ({ parent, labels }, { group }, flat) => [
      ...(parent === "" ? [] : [{ table: snapshots, group, key: parent, flat }]),
      ...(flat ? [] : fullReferences(labels)),
    ],
    backReferences: ({ labels }) => backReferences(labels),
  });
  define(ingests, {
    isRoot: ({ ref, expireAt = 0 }, { namespace }) => expireAt > now || sources.isIngestOpen(namespace, ref),
    references: ({ expected }) => (expected === undefined ? [] : [blobReference(expected, false)]),
  });
  for (const table of Object.values(collectibleTables)) define(table, itemRule);
  return {
    isRoot: (place, record) => rules.get(place.table.prefix)?.isRoot(record, place) ?? false,
    references: (place, record, flat) => rules.get(place.table.prefix)?.references(record, place, flat) ?? [],
    backReferences: (place, record) => rules.get(place.table.prefix)?.backReferences?.(record) ?? [],
  };

  function* withLabels(labels: Labels, place: Place, flat: boolean, own: readonly Reference[]): Iterable<Reference> {
    yield* own;
    if (flat) return;
    yield* fullReferences(labels);
    const labelsOf = ({ group, key }: LabelTarget) =>
      index.find(snapshots, { namespace: place.namespace, group, key })?.labels;
    for (const target of conditionalReferences(labels, labelsOf, now)) yield { ...target, flat: false };
  }
}

const itemRule: Rule<CollectibleItem> = {
  isRoot: ({ active, lease }) => active && lease === undefined,
  references: () => [],
  backReferences: ({ labels }) => backReferences(labels),
};

function blobReference(digest: string, flat: boolean): Reference {
  return { table: blobs, group: "", key: digest, flat };
}

function* fullReferences(labels: Labels): Iterable<Reference> {
  for (const target of labelReferences(labels)) yield { ...target, flat: false };
}

function resourceReferences({ type, id }: LeaseResource, flat: boolean): Reference[] {
  const table = RESOURCE_TABLES.get(type);
  if (table !== undefined) return [{ table, group: "", key: id, flat }];
  const [kind, snapshotter] = type.split("/");
  if (kind !== "snapshots" || snapshotter === undefined) return [];
  return [{ table: snapshots, group: snapshotter, key: id, flat }];
}

function* heldByLease(
  { index, collectibles }: RuleSources,
  namespace: string,
  id: string,
  labels: Labels,
): Iterable<Reference> {
  const flat = labels.has(LeaseLabel.flat);
  for (const [, resource] of index.findBucket(leaseResources, namespace, id)?.entries() ?? []) {
    yield* resourceReferences(resource, flat);
  }
  for (const item of collectibles.leased(namespace, id)) yield { ...item, group: "", flat: false };
}

/** A time that cannot be read never comes: what should have expired stays, rather than go by mistake. */
function hasExpired(labels: Labels, of: Record<string, string>, { now, log }: RuleSources): boolean {
  const text = labels.get(LeaseLabel.expire);
  if (text === undefined) return false;
  const time = parseRfc3339(text);
  if (time === undefined) log.info("ignoring invalid expiration value", { ...of, value: text });
  return time !== undefined && time < now;
}
