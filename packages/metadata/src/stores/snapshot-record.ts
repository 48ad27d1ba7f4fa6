import type { Labels } from "@berth/core/labels";
import { SnapshotLabel } from "@berth/core/snapshots";

import type { RecordPath } from "../database/record-key.ts";
import { snapshots } from "../database/tables.ts";
import type { Transaction } from "../database/transaction.ts";

const INHERITED_PREFIX = "containerd.io/snapshot/";

/** This returns the labels that are passed on to a backend. */
export function inheritedLabels(labels: Labels): Labels {
  return new Map([...labels].filter(([key]) => key === SnapshotLabel.ref || key.startsWith(INHERITED_PREFIX)));
}

/** This says whether two sets of labels are the same. */
export function sameLabels(a: Labels, b: Labels): boolean {
  return a.size === b.size && a.entries().every(([key, value]) => b.get(key) === value);
}

/** This counts a child more or less of a snapshot; of none, the empty key, there is nothing to count. */
export function changeChildren(tx: Transaction, path: RecordPath, difference: 1 | -1): void {
  if (path.key === "") return;
  const record = tx.get(snapshots, path);
  if (record !== undefined) tx.put(snapshots, path, { ...record, children: Math.max(0, record.children + difference) });
}
