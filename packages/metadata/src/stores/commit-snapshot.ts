import { SnapshotCommitSchema } from "@berth/api/containerd/events/snapshot";
import { noLabels, validateLabels } from "@berth/core/labels";
import type { SnapshotCommitOptions } from "@berth/core/snapshots";
import { alreadyExists, invalidArgument, isAlreadyExists, isNotFound, notFound } from "@berth/errors";

import type { SnapshotRecord } from "../database/tables.ts";
import { snapshots } from "../database/tables.ts";
import type { Transaction } from "../database/transaction.ts";
import { backendPrefix, backendSequence } from "../gc/backend-key.ts";
import type { BackendSnapshotter } from "./backend-snapshotter.ts";
import { storedLabels } from "./field-paths.ts";
import { attachToLease, detachFromLease, requireLease } from "./lease-resource.ts";
import type { Scope } from "./scope.ts";
import { pathIn } from "./scope.ts";
import { changeChildren, inheritedLabels } from "./snapshot-record.ts";

/** The active snapshot `key` becomes the committed `name`. */
export interface CommitRequest {
  readonly name: string;
  readonly key: string;
}

/**
 * This commits in the backend and then moves the record. Labels are those given, none is inherited.
 *
 * @see containerd core/metadata/snapshot.go, Commit
 */
export async function commitSnapshot(
  scope: Scope,
  backend: BackendSnapshotter,
  { name, key }: CommitRequest,
  { labels = noLabels, parent, signal }: SnapshotCommitOptions,
): Promise<void> {
  if (name === "") throw invalidArgument("snapshot name must not be empty");
  validateLabels(labels);
  requireLease(scope);
  // A committed backend snapshot cannot be made active again: nobody may take the name or the key meanwhile.
  using _lock = await backend.locks.acquire([name, key].map((part) => `${scope.namespace}/${part}`));
  const find = (part: string) => scope.database.index.find(snapshots, pathIn(scope, part, backend.name));
  if (find(name) !== undefined) throw alreadyExists(`snapshot ${JSON.stringify(name)}`);
  const active = find(key);
  if (active === undefined) throw notFound(`snapshot ${JSON.stringify(key)}`);
  const rebase = parent === undefined || parent === "" ? undefined : rebaseParent(active, parent, find(parent));
  // The committed snapshot keeps the number of the active one: until it has its record, that of the active one keeps it too.
  const prefix = backendPrefix(active.backendKey) ?? `${scope.namespace}/${await scope.database.nextSequence()}/`;
  const wanted = `${prefix}${name}`;
  backend.inFlight.add(wanted);
  try {
    const backendKey = await commitBackend(backend, wanted, active.backendKey, {
      labels: inheritedLabels(storedLabels(labels)),
      signal,
      ...(rebase === undefined ? {} : { parent: rebase.backendKey }),
    });
    if ((backendSequence(backendKey) ?? 0n) < scope.database.firstSequence) backend.renumbered.add(backendKey);
    const record: SnapshotRecord = {
      key: name,
      backendKey,
      parent: rebase?.key ?? active.parent,
      children: 0,
      labels: storedLabels(labels),
      createdAt: Date.now(),
      updatedAt: Date.now(),
    };
    // Without the signal: the active snapshot is gone from the backend, there is no way back.
    await scope.database.update((tx) => moveRecord(tx, scope, backend.name, key, record));
  } finally {
    backend.inFlight.delete(wanted);
  }
}

/** An earlier commit may have got as far as this and no further, for a crash or a full disk: what it made is taken then. */
async function commitBackend(
  { snapshotter }: BackendSnapshotter,
  wanted: string,
  active: string,
  options: SnapshotCommitOptions,
): Promise<string> {
  try {
    await snapshotter.commit(wanted, active, options);
    return wanted;
  } catch (error) {
    const prefix = backendPrefix(active);
    const isGone = isNotFound(error) || isAlreadyExists(error);
    if (!isGone || prefix === undefined) throw error;
    for await (const { name, kind } of snapshotter.list({ signal: options.signal })) {
      if (kind === "committed" && name.startsWith(prefix)) return name;
    }
    throw error;
  }
}

function rebaseParent(active: SnapshotRecord, parent: string, record: SnapshotRecord | undefined): SnapshotRecord {
  if (active.parent !== "" && active.parent !== parent) {
    throw invalidArgument(`snapshot ${JSON.stringify(active.key)} has parent ${JSON.stringify(active.parent)} already`);
  }
  if (record === undefined) throw notFound(`parent snapshot ${JSON.stringify(parent)}`);
  return record;
}

function moveRecord(tx: Transaction, scope: Scope, snapshotter: string, key: string, record: SnapshotRecord): void {
  const from = pathIn(scope, key, snapshotter);
  const current = tx.get(snapshots, from);
  if (current === undefined) throw notFound(`snapshot ${JSON.stringify(key)}`);
  tx.delete(snapshots, from);
  if (current.parent !== record.parent) {
    changeChildren(tx, pathIn(scope, current.parent, snapshotter), -1);
    changeChildren(tx, pathIn(scope, record.parent, snapshotter), 1);
  }
  tx.put(snapshots, pathIn(scope, record.key, snapshotter), record);
  detachFromLease(tx, scope, `snapshots/${snapshotter}`, key);
  attachToLease(tx, scope, `snapshots/${snapshotter}`, record.key);
  const event = { key, name: record.key, snapshotter };
  tx.emit(scope.namespace, "/snapshot/commit", SnapshotCommitSchema, event);
}
