import { SnapshotPrepareSchema } from "@berth/api/containerd/events/snapshot";
import type { Labels } from "@berth/core/labels";
import { noLabels, validateLabels } from "@berth/core/labels";
import type { Mount } from "@berth/core/mount";
import type { SnapshotOptions } from "@berth/core/snapshots";
import { SnapshotLabel } from "@berth/core/snapshots";
import { alreadyExists, invalidArgument, isAlreadyExists, notFound, wrapError } from "@berth/errors";

import type { SnapshotRecord } from "../database/tables.ts";
import { snapshots } from "../database/tables.ts";
import type { BackendSnapshotter } from "./backend-snapshotter.ts";
import { storedLabels } from "./field-paths.ts";
import { attachToLease, requireLease } from "./lease-resource.ts";
import type { Scope } from "./scope.ts";
import { pathIn } from "./scope.ts";
import { changeChildren, inheritedLabels } from "./snapshot-record.ts";

/** What is to be made. */
export interface SnapshotRequest {
  readonly kind: "prepare" | "view";
  readonly key: string;
  readonly parent: string;
}

/**
 * This makes a snapshot in the backend and then its record. A snapshot that exists already, under the key or under the name
 * that it is being extracted for, goes into the lease of the view.
 *
 * @see containerd core/metadata/snapshot.go, createSnapshot
 */
export async function createSnapshot(
  scope: Scope,
  backend: BackendSnapshotter,
  request: SnapshotRequest,
  { labels = noLabels, signal }: SnapshotOptions,
): Promise<readonly Mount[]> {
  const { key, parent } = request;
  if (key === "") throw invalidArgument("snapshot key must not be empty");
  validateLabels(labels);
  requireLease(scope);
  const target = labels.get(SnapshotLabel.ref) ?? "";
  for (const name of target === "" ? [key] : [target, key]) await refuseExisting(scope, backend, name, signal);
  const parentRecord = findParent(scope, backend, parent);
  const backendKey = `${scope.namespace}/${await scope.database.nextSequence()}/${key}`;
  const backendParent = parentRecord?.backendKey ?? "";
  backend.inFlight.add(backendKey);
  try {
    const options = { labels: inheritedLabels(storedLabels(labels)), signal };
    const mounts = await backend.snapshotter[request.kind](backendKey, backendParent, options);
    await recordOrRemove(scope, backend, request, { backendKey, labels, signal });
    return mounts;
  } catch (error) {
    if (isAlreadyExists(error) && target !== "") {
      await adoptTarget(scope, backend, { target, parent, backendParent, labels, signal });
    }
    throw error;
  } finally {
    backend.inFlight.delete(backendKey);
  }
}

async function refuseExisting(
  scope: Scope,
  backend: BackendSnapshotter,
  name: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (scope.database.index.find(snapshots, pathIn(scope, name, backend.name)) === undefined) return;
  if (scope.lease !== undefined) {
    const held = await scope.database.update(
      (tx) => {
        // The collector may have taken it since; then it does not exist.
        if (!tx.has(snapshots, pathIn(scope, name, backend.name))) return false;
        return attachToLease(tx, scope, `snapshots/${backend.name}`, name);
      },
      { signal },
    );
    if (!held) return;
  }
  throw alreadyExists(`snapshot ${JSON.stringify(name)}`);
}

function findParent(scope: Scope, backend: BackendSnapshotter, parent: string): SnapshotRecord | undefined {
  if (parent === "") return undefined;
  const record = scope.database.index.find(snapshots, pathIn(scope, parent, backend.name));
  if (record === undefined) throw notFound(`parent snapshot ${JSON.stringify(parent)}`);
  return record;
}

async function recordOrRemove(
  scope: Scope,
  backend: BackendSnapshotter,
  { kind, key, parent }: SnapshotRequest,
  { backendKey, labels, signal }: { backendKey: string; labels: Labels; signal: AbortSignal | undefined },
): Promise<void> {
  const snapshotter = backend.name;
  try {
    await scope.database.update(
      (tx) => {
        putSnapshot(tx, scope, snapshotter, { key, backendKey, parent, labels });
        if (kind === "prepare") {
          tx.emit(scope.namespace, "/snapshot/prepare", SnapshotPrepareSchema, { key, parent, snapshotter });
        }
      },
      { signal },
    );
  } catch (error) {
    await backend.snapshotter.remove(backendKey).catch((reason: unknown) => {
      // Left to the collector, which takes what no record names.
      throw wrapError(error, `remove backend snapshot ${backendKey} (${String(reason)})`);
    });
    throw error;
  }
}

function putSnapshot(
  tx: Parameters<typeof attachToLease>[0],
  scope: Scope,
  snapshotter: string,
  { key, backendKey, parent, labels }: { key: string; backendKey: string; parent: string; labels: Labels },
): void {
  const path = pathIn(scope, key, snapshotter);
  if (tx.has(snapshots, path)) throw alreadyExists(`snapshot ${JSON.stringify(key)}`);
  const parentPath = pathIn(scope, parent, snapshotter);
  // It may have gone while the backend was at work.
  if (parent !== "" && !tx.has(snapshots, parentPath)) throw notFound(`parent snapshot ${JSON.stringify(parent)}`);
  const now = Date.now();
  const record = { key, backendKey, parent, children: 0, labels: storedLabels(labels), createdAt: now, updatedAt: now };
  tx.put(snapshots, path, record);
  changeChildren(tx, parentPath, 1);
  attachToLease(tx, scope, `snapshots/${snapshotter}`, key);
}

interface Target {
  readonly target: string;
  readonly parent: string;
  readonly backendParent: string;
  readonly labels: Labels;
  readonly signal: AbortSignal | undefined;
}

/** The backend has the target already (a remote snapshotter does): this gives it a record here, so that it is found. */
async function adoptTarget(scope: Scope, backend: BackendSnapshotter, wanted: Target): Promise<void> {
  const { target, parent, backendParent, labels, signal } = wanted;
  const backendKey = await findBackendTarget(backend, target, backendParent, signal);
  if (backendKey === undefined || backend.removing.has(backendKey)) return;
  backend.inFlight.add(backendKey);
  try {
    // The collector may have removed it before it was in flight.
    await backend.snapshotter.stat(backendKey, { signal });
    await scope.database.update(
      (tx) => {
        putSnapshot(tx, scope, backend.name, { key: target, backendKey, parent, labels });
      },
      { signal },
    );
  } finally {
    backend.inFlight.delete(backendKey);
  }
}

async function findBackendTarget(
  backend: BackendSnapshotter,
  target: string,
  backendParent: string,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  for await (const { name, kind, parent, labels } of backend.snapshotter.list({ signal })) {
    if (kind === "committed" && parent === backendParent && labels.get(SnapshotLabel.ref) === target) return name;
  }
  return undefined;
}
