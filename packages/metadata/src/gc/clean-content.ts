import type { Logger } from "@berth/core/log";
import { Turns } from "@berth/core/turns";
import { isNotFound, wrapError } from "@berth/errors";
import type { Digest } from "@berth/oci";

import type { RecordIndex } from "../database/record-index.ts";
import { blobs, ingests } from "../database/tables.ts";
import type { BackendContent } from "../stores/backend-content.ts";
import type { OrphanPolicy } from "./backend-key.ts";
import { isOrphan } from "./backend-key.ts";

/** Removals that wait for the disk side by side. */
const AT_ONCE = 16;

/**
 * This removes the blobs and ingests of the backend that no namespace knows. Writers go on meanwhile.
 *
 * @throws the first failure to remove something, after the rest was removed: what is left is tried again
 */
export async function cleanContent(
  index: RecordIndex,
  backend: BackendContent,
  policy: OrphanPolicy,
  log: Logger,
  signal?: AbortSignal,
): Promise<number> {
  let removed = 0;
  const failures: unknown[] = [];
  const remove = async (call: () => Promise<void>, fields: Record<string, string>): Promise<boolean> => {
    try {
      await call();
      removed++;
      return true;
    } catch (error) {
      if (isNotFound(error)) return true;
      log.warn("failed to remove garbage from content store", { ...fields, error });
      failures.push(error);
      return false;
    }
  };
  const removeBlob = async (digest: Digest): Promise<void> => {
    if (await remove(() => backend.remove(digest), { digest })) backend.forsaken.delete(digest);
  };
  const turns = new Turns(AT_ONCE);
  const running: Promise<void>[] = [];
  for await (const digest of candidates(backend, policy, signal)) {
    const turn = await turns.acquire();
    // No await since the look at records and pins: whoever wants the blob from here on waits for its removal.
    if (!hasRecord(index, digest) && !isExpected(index, digest) && !backend.isPinned(digest)) {
      running.push(removeBlob(digest).finally(() => turn[Symbol.dispose]()));
      continue;
    }
    // Pins and ingests end without a word, and the store may never be looked through again.
    if (!hasRecord(index, digest)) backend.forsaken.add(digest);
    turn[Symbol.dispose]();
  }
  await Promise.all(running);
  for (const digest of backend.forsaken) if (hasRecord(index, digest)) backend.forsaken.delete(digest);
  for await (const ref of orphanIngests(index, backend, policy, signal)) {
    await remove(() => backend.store.abort(ref), { ref });
  }
  if (failures.length > 0) throw wrapError(failures[0], `${failures.length} pieces of garbage are left`);
  backend.isLookedThrough = true;
  return removed;
}

/** The blobs that may be garbage: of an earlier process whatever is there, of this one what it has given up. */
async function* candidates(
  backend: BackendContent,
  policy: OrphanPolicy,
  signal: AbortSignal | undefined,
): AsyncGenerator<Digest, void, undefined> {
  if (backend.isLookedThrough) {
    yield* backend.forsaken;
    return;
  }
  for await (const { digest, createdAt } of backend.store.list({ signal })) {
    if (backend.forsaken.has(digest) || isOrphan(policy, digest, createdAt)) yield digest;
  }
}

async function* orphanIngests(
  index: RecordIndex,
  backend: BackendContent,
  policy: OrphanPolicy,
  signal: AbortSignal | undefined,
): AsyncGenerator<string, void, undefined> {
  for (const { ref, startedAt } of await Array.fromAsync(backend.store.listStatuses({ signal }))) {
    // Read anew for each: an ingest gets its record while the list is read.
    if (backend.ingestsInFlight.has(ref) || isKnownIngest(index, ref)) continue;
    if (isOrphan(policy, ref, startedAt)) yield ref;
  }
}

function hasRecord(index: RecordIndex, digest: Digest): boolean {
  return index.buckets(blobs).some((bucket) => bucket.has(digest));
}

/** Whether an ingest shares the blob: its commit will name it. */
function isExpected(index: RecordIndex, digest: Digest): boolean {
  return index.buckets(ingests).some((bucket) => bucket.entries().some(([, { expected }]) => expected === digest));
}

/** A backend ref says in which namespace its record stands, and under which ref. */
function isKnownIngest(index: RecordIndex, backendRef: string): boolean {
  const [, namespace, key] = /^([^/]+)\/[^/]+\/(.*)$/s.exec(backendRef) ?? [];
  if (namespace === undefined || key === undefined) return false;
  return index.find(ingests, { namespace, group: "", key })?.backendRef === backendRef;
}
