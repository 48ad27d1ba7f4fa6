import type { CollectibleKind } from "@berth/core/collector";
import { CollectibleKind as kinds } from "@berth/core/collector";
import type { Labels } from "@berth/core/labels";

import type { Table } from "../database/table.ts";
import { blobs, containers, images, snapshots } from "../database/tables.ts";
import { collectibleTables } from "./collectible-table.ts";
import { parseGoDuration } from "@berth/core/go-duration";
import { parseRfc3339 } from "./rfc3339.ts";

/** What a label names, in the namespace of the labelled object. */
export interface LabelTarget {
  readonly table: Table<unknown>;
  readonly group: string;
  readonly key: string;
}

const PREFIX = "containerd.io/gc.";
const CONTENT_REF = "containerd.io/gc.ref.content";
const IMAGE_REF = "containerd.io/gc.ref.image";
const SNAPSHOT_REF = "containerd.io/gc.ref.snapshot.";
const CONTAINER_BACK_REF = "containerd.io/gc.bref.container";
const CONTENT_BACK_REF = "containerd.io/gc.bref.content";
const IMAGE_BACK_REF = "containerd.io/gc.bref.image";
const SNAPSHOT_BACK_REF = "containerd.io/gc.bref.snapshot.";
const SNAPSHOT_CONDITION = "containerd.io/gc.cond.snapshot";
const USED_AT_VALUE = "containerd.io/gc.cond.value-usedat";

/** Names of references with the table that they lead to; in any of them a suffix tells several apart. */
const REFERENCES: readonly (readonly [name: string, table: Table<unknown>])[] = [
  [CONTENT_REF, blobs],
  [IMAGE_REF, images],
  // The keys of the constant are the kinds.
  ...(Object.keys(kinds) as CollectibleKind[]).map(
    (kind) => [`containerd.io/gc.ref.${kind}`, collectibleTables[kind]] as const,
  ),
];
const BACK_REFERENCES: readonly (readonly [name: string, table: Table<unknown>])[] = [
  [CONTAINER_BACK_REF, containers],
  [CONTENT_BACK_REF, blobs],
  [IMAGE_BACK_REF, images],
];

/** This yields what labels refer to: it lives as long as the labelled object. */
export function labelReferences(labels: Labels): Iterable<LabelTarget> {
  return namedTargets(labels, REFERENCES, SNAPSHOT_REF);
}

/** This yields what keeps the labelled object alive, as its labels say. */
export function backReferences(labels: Labels): Iterable<LabelTarget> {
  return namedTargets(labels, BACK_REFERENCES, SNAPSHOT_BACK_REF);
}

/**
 * This yields the snapshots that labels refer to under a condition that holds. `labelsOf` gives the labels of a snapshot.
 * Several conditions are alternatives; what cannot be understood never holds.
 */
export function* conditionalReferences(
  labels: Labels,
  labelsOf: (target: LabelTarget) => Labels | undefined,
  now: number,
): Iterable<LabelTarget> {
  for (const [label, value] of labels) {
    if (!label.startsWith(SNAPSHOT_CONDITION)) continue;
    const bar = value.indexOf("|");
    if (bar === -1) continue;
    const group = snapshotterIn(label.slice(SNAPSHOT_CONDITION.length).replace(/^[./]+/, ""));
    const target = { table: snapshots, group, key: value.slice(bar + 1) };
    const ages = usedAges(labelsOf(target), now);
    const conditions = value.slice(0, bar).split(",");
    if (conditions.some((condition) => ages.some((age) => isSatisfied(condition, age)))) yield target;
  }
}

/** `<name>`, `<name>.<anything>` and `<name>/<anything>` are the same reference, so that an object can have many. */
function* namedTargets(
  labels: Labels,
  names: readonly (readonly [name: string, table: Table<unknown>])[],
  snapshotName: string,
): Iterable<LabelTarget> {
  for (const [label, key] of labels) {
    if (!label.startsWith(PREFIX)) continue;
    if (label.startsWith(snapshotName)) {
      yield { table: snapshots, group: snapshotterIn(label.slice(snapshotName.length)), key };
      continue;
    }
    const found = names.find(([name]) => isNamed(label, name));
    if (found !== undefined) yield { table: found[1], group: "", key };
  }
}

function isNamed(label: string, name: string): boolean {
  if (!label.startsWith(name)) return false;
  const next = label[name.length];
  return next === undefined || next === "." || next === "/";
}

function snapshotterIn(rest: string): string {
  const slash = rest.indexOf("/");
  return slash === -1 ? rest : rest.slice(0, slash);
}

/** How long ago a snapshot was used, by each of its labels that tells; none for one that does not exist. */
function usedAges(labels: Labels | undefined, now: number): number[] {
  const ages: number[] = [];
  for (const [label, value] of labels ?? []) {
    if (!label.startsWith(USED_AT_VALUE)) continue;
    const time = parseRfc3339(value);
    if (time !== undefined) ages.push(now - time);
  }
  return ages;
}

function isSatisfied(condition: string, ageMs: number): boolean {
  const match = /^usedat([<>])([^=].*)$/s.exec(condition);
  const [, operator, duration = ""] = match ?? [];
  if (operator === undefined) return false;
  const limitMs = durationOf(duration);
  if (limitMs === undefined) return false;
  return operator === "<" ? ageMs < limitMs : ageMs > limitMs;
}

function durationOf(text: string): number | undefined {
  try {
    return parseGoDuration(text);
  } catch {
    return undefined;
  }
}
