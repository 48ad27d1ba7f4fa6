import type { CallOptions } from "@berth/core/any";
import type { SnapshotKind, Snapshotter } from "@berth/core/snapshots";
import { SnapshotLabel } from "@berth/core/snapshots";

import type { Bucket } from "../database/record-index.ts";
import type { SnapshotRecord } from "../database/tables.ts";
import { snapshots } from "../database/tables.ts";
import type { Finding } from "./finding.ts";
import type { OfflineDatabase } from "./offline-database.ts";
import { unknownObject } from "./unknown-object.ts";

/** This holds the records of snapshots against those of their snapshotters, and against their files where a snapshotter can tell. */
export async function* checkSnapshotters(
  database: OfflineDatabase,
  snapshotters: ReadonlyMap<string, Snapshotter>,
  { signal }: CallOptions,
): AsyncIterable<Finding> {
  const { index } = database;
  for (const name of new Set(index.buckets(snapshots).map(({ group }) => group))) {
    if (snapshotters.has(name)) continue;
    const detail = "it is not loaded: its snapshots are not looked at";
    yield { severity: "warning", kind: "missing-snapshotter", subject: `snapshotter ${name}`, detail };
  }
  for (const [name, snapshotter] of snapshotters) {
    const infos = await Array.fromAsync(snapshotter.list({ signal }));
    const kinds = new Map<string, SnapshotKind>(infos.map((info) => [info.name, info.kind]));
    const gone = new Set(await Array.fromAsync(snapshotter.listMissing?.({ signal }) ?? []));
    const known = new Set<string>();
    for (const bucket of index.buckets(snapshots).filter(({ group }) => group === name)) {
      for (const [key, { backendKey }] of bucket.entries()) {
        known.add(backendKey);
        if (kinds.has(backendKey)) continue;
        const detail = `the snapshotter does not have it (${backendKey})`;
        yield brokenSnapshot("missing-snapshot", bucket, key, { detail, isRepaired: true });
      }
      yield* checkFiles(bucket, kinds, gone);
    }
    for (const { name: key, createdAt } of infos) {
      if (known.has(key)) continue;
      const subject = `snapshot ${key} of ${name}`;
      yield unknownObject(database, { kind: "unknown-snapshot", subject, createdAt });
    }
  }
}

/** Snapshots whose files are gone, and those that stand on them. Without their records, layers are unpacked again. */
function* checkFiles(
  bucket: Bucket<SnapshotRecord>,
  kinds: ReadonlyMap<string, SnapshotKind>,
  gone: ReadonlySet<string>,
): Iterable<Finding> {
  const records = new Map(bucket.entries());
  const isGone = (key: string): boolean => gone.has(records.get(key)?.backendKey ?? "");
  const broken = new Set<string>();
  // What cannot be had again stays, and with it all that it stands on.
  const kept = new Set<string>();
  for (const [key, { backendKey, labels }] of records) {
    const chain = chainOf(records, key);
    const last = chain.findLastIndex(isGone);
    if (last < 0) continue;
    broken.add(key);
    // A layer of an image names itself; other committed snapshots are what somebody made of a container, and are nowhere else.
    const isLayer = kinds.get(backendKey) === "committed" && labels.get(SnapshotLabel.ref) === key;
    if (!isLayer && !isGone(key)) for (const part of chain.slice(0, last + 1)) kept.add(part);
  }
  for (const key of broken) {
    const detail = isGone(key) ? "its files are not there" : "files that it stands on are not there";
    yield brokenSnapshot("missing-files", bucket, key, { detail, isRepaired: !kept.has(key) });
  }
}

/** A snapshot, its parent, and so on. */
function chainOf(records: ReadonlyMap<string, SnapshotRecord>, key: string): string[] {
  const chain = new Set<string>();
  // A damaged database may have a ring.
  for (let next = key; next !== "" && !chain.has(next); next = records.get(next)?.parent ?? "") chain.add(next);
  return [...chain];
}

function brokenSnapshot(
  kind: string,
  { namespace, group }: Bucket<SnapshotRecord>,
  key: string,
  { detail, isRepaired }: { readonly detail: string; readonly isRepaired: boolean },
): Finding {
  const finding = { severity: "error", kind, namespace, subject: `snapshot ${key} of ${group}`, detail } as const;
  if (!isRepaired) return { ...finding, detail: `${detail}; it is left, for what was written on top of it` };
  return {
    ...finding,
    repair: { action: "remove the record", change: (tx) => tx.delete(snapshots, { namespace, group, key }) },
  };
}
