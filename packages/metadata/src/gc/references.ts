import type { Labels } from "@berth/core/labels";
import type { LeaseResource } from "@berth/core/leases";
import { LeaseLabel } from "@berth/core/leases";

import type { RecordIndex } from "../database/record-index.ts";
import type { Table } from "../database/table.ts";
import { blobs, containers, images, ingests, leaseResources, leases, snapshots } from "../database/tables.ts";

/** One thing that a record holds on to. Flat: nothing beyond it, but for parents of snapshots and targets of images. */
export interface Reference {
  readonly table: Table<unknown>;
  readonly group: string;
  readonly key: string;
  readonly flat: boolean;
}

const ROOT_LABEL = "containerd.io/gc.root";
const CONTENT_REF = "containerd.io/gc.ref.content";
const IMAGE_REF = "containerd.io/gc.ref.image";
const SNAPSHOT_REF = "containerd.io/gc.ref.snapshot.";
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
  /** Whether a record lives without being referred to, at `now`. */
  isRoot(place: Place, record: unknown, now: number): boolean;
  references(place: Place, record: unknown, flat: boolean): Iterable<Reference>;
}

interface Rule<R> {
  readonly isRoot: (record: R, place: Place, now: number) => boolean;
  readonly references: (record: R, place: Place, flat: boolean) => Iterable<Reference>;
}

/**
 * This makes the rules of a database. Ingests that are being written are roots: `isIngestOpen` knows them.
 *
 * @see containerd core/metadata/gc.go
 */
export function referenceRules(
  index: RecordIndex,
  isIngestOpen: (namespace: string, ref: string) => boolean,
): ReferenceRules {
  const rules = new Map<number, Rule<unknown>>();
  // Each rule is only given records of the table under whose prefix it stands.
  const define = <R>(table: Table<R>, rule: Rule<R>) => rules.set(table.prefix, rule as Rule<unknown>);
  define(leases, {
    isRoot: ({ labels }, _place, now) => !hasExpired(labels, now),
    references: ({ id, labels }, { namespace }) => heldByLease(index, namespace, id, labels),
  });
  // Never marked itself: this is for one that is written while its lease has been marked already.
  define(leaseResources, {
    isRoot: () => false,
    references: (resource) => resourceReferences(resource, false),
  });
  define(images, {
    isRoot: ({ labels }, _place, now) => !hasExpired(labels, now),
    references: ({ target, labels }, _place, flat) => [
      { table: blobs, group: "", key: target.digest, flat },
      ...(flat ? [] : labelReferences(labels)),
    ],
  });
  define(containers, {
    isRoot: () => true,
    references: ({ snapshotter, snapshotKey, labels }) => [
      ...(snapshotKey === "" ? [] : [{ table: snapshots, group: snapshotter, key: snapshotKey, flat: false }]),
      ...labelReferences(labels),
    ],
  });
  define(blobs, {
    isRoot: ({ labels }) => labels.has(ROOT_LABEL),
    references: ({ labels }, _place, flat) => (flat ? [] : labelReferences(labels)),
  });
  define(snapshots, {
    isRoot: ({ labels }) => labels.has(ROOT_LABEL),
    references: ({ parent, labels }, { group }, flat) => [
      ...(parent === "" ? [] : [{ table: snapshots, group, key: parent, flat }]),
      ...(flat ? [] : labelReferences(labels)),
    ],
  });
  define(ingests, {
    isRoot: ({ ref, expireAt = 0 }, { namespace }, now) => expireAt > now || isIngestOpen(namespace, ref),
    references: ({ expected }) =>
      expected === undefined ? [] : [{ table: blobs, group: "", key: expected, flat: false }],
  });
  return {
    isRoot: (place, record, now) => rules.get(place.table.prefix)?.isRoot(record, place, now) ?? false,
    references: (place, record, flat) => rules.get(place.table.prefix)?.references(record, place, flat) ?? [],
  };
}

function resourceReferences({ type, id }: LeaseResource, flat: boolean): Reference[] {
  const table = RESOURCE_TABLES.get(type);
  if (table !== undefined) return [{ table, group: "", key: id, flat }];
  const [kind, snapshotter] = type.split("/");
  if (kind !== "snapshots" || snapshotter === undefined) return [];
  return [{ table: snapshots, group: snapshotter, key: id, flat }];
}

function* heldByLease(index: RecordIndex, namespace: string, id: string, labels: Labels): Iterable<Reference> {
  const flat = labels.has(LeaseLabel.flat);
  for (const [, resource] of index.bucket(leaseResources, namespace, id).entries()) {
    yield* resourceReferences(resource, flat);
  }
}

/** `<name>`, `<name>.<anything>` and `<name>/<anything>` are the same reference, so that an object can have many. */
function* labelReferences(labels: Labels): Iterable<Reference> {
  for (const [label, value] of labels) {
    if (isNamed(label, CONTENT_REF)) yield { table: blobs, group: "", key: value, flat: false };
    else if (isNamed(label, IMAGE_REF)) yield { table: images, group: "", key: value, flat: false };
    else if (label.startsWith(SNAPSHOT_REF)) {
      const [snapshotter = ""] = label.slice(SNAPSHOT_REF.length).split("/", 1);
      yield { table: snapshots, group: snapshotter, key: value, flat: false };
    }
  }
}

function isNamed(label: string, name: string): boolean {
  if (!label.startsWith(name)) return false;
  const next = label[name.length];
  return next === undefined || next === "." || next === "/";
}

/** A time that cannot be read never comes: what should have expired stays, rather than go by mistake. */
function hasExpired(labels: Labels, now: number): boolean {
  const text = labels.get(LeaseLabel.expire);
  if (text === undefined) return false;
  const time = parseRfc3339(text);
  return time !== undefined && time < now;
}

const RFC3339 = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:Z|[+-]\d{2}:\d{2})$/;

/** This reads an RFC 3339 time in milliseconds, `undefined` for anything else. */
export function parseRfc3339(text: string): number | undefined {
  if (!RFC3339.test(text)) return undefined;
  const time = Date.parse(text);
  return Number.isNaN(time) ? undefined : time;
}
