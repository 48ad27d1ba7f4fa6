import type { Logger } from "@berth/core/log";
import type { SnapshotInfo } from "@berth/core/snapshots";
import { isFailedPrecondition, isNotFound, isUnimplemented } from "@berth/errors";

import type { RecordIndex } from "../database/record-index.ts";
import { snapshots } from "../database/tables.ts";
import type { BackendSnapshotter } from "../stores/backend-snapshotter.ts";
import type { OrphanPolicy } from "./backend-key.ts";
import { backendPrefix, isOrphan } from "./backend-key.ts";

/** This removes the snapshots of a backend that no namespace knows, children before parents, and lets it tidy up. */
export async function cleanSnapshotter(
  index: RecordIndex,
  backend: BackendSnapshotter,
  policy: OrphanPolicy,
  log: Logger,
  signal?: AbortSignal,
): Promise<number> {
  const infos = await Array.fromAsync(backend.snapshotter.list({ signal }));
  // Read after the backend: what was made meanwhile is not in the list, what was recorded meanwhile is known.
  const known = new Set(backend.inFlight);
  for (const bucket of index.buckets(snapshots)) {
    if (bucket.group === backend.name) for (const [, { backendKey }] of bucket.entries()) known.add(backendKey);
  }
  // Committed already, and the record does not know yet: whoever commits again takes it.
  const unfinished = new Set([...known].map(backendPrefix));
  const isKnown = (name: string) => known.has(name) || unfinished.has(backendPrefix(name) ?? name);
  let removed = 0;
  const garbage = infos.filter(
    ({ name, createdAt }) => !isKnown(name) && (backend.renumbered.has(name) || isOrphan(policy, name, createdAt)),
  );
  for (const { name } of childrenFirst(garbage)) {
    signal?.throwIfAborted();
    // Adopted since the list was read.
    if (backend.inFlight.has(name)) continue;
    backend.removing.add(name);
    try {
      await backend.snapshotter.remove(name, { signal });
      backend.renumbered.delete(name);
      removed++;
    } catch (error) {
      if (isNotFound(error)) continue;
      if (!isFailedPrecondition(error)) throw error;
      log.warn("failed to remove snapshot", { snapshotter: backend.name, key: name, error });
    } finally {
      backend.removing.delete(name);
    }
  }
  await backend.snapshotter.cleanup?.({ signal }).catch((error: unknown) => {
    if (!isUnimplemented(error)) throw error;
  });
  return removed;
}

function childrenFirst(infos: readonly SnapshotInfo[]): SnapshotInfo[] {
  const byName = new Map(infos.map((info) => [info.name, info]));
  const ordered = new Set<SnapshotInfo>();
  for (const info of infos) {
    // Parents of what is in the list already are in it too, with all of their parents.
    const chain: SnapshotInfo[] = [];
    for (let at: SnapshotInfo | undefined = info; at !== undefined && !ordered.has(at); at = byName.get(at.parent)) {
      chain.push(at);
    }
    for (const parentFirst of chain.reverse()) ordered.add(parentFirst);
  }
  return [...ordered].reverse();
}
