import type { ContentWriter, WriterOptions } from "@berth/core/content";
import { isNotFound } from "@berth/errors";
import type { Digest } from "@berth/oci";

import type { IngestRecord } from "../database/tables.ts";
import { blobs, ingests, namespaces } from "../database/tables.ts";
import { namespacePath } from "../database/transaction.ts";
import type { BackendContent } from "./backend-content.ts";
import { attachToLease, requireLease } from "./lease-resource.ts";
import type { SharedBlob } from "./namespaced-writer.ts";
import { NamespacedWriter } from "./namespaced-writer.ts";
import type { Scope } from "./scope.ts";
import { pathIn } from "./scope.ts";

/** How long an ingest lives that no lease holds. */
const INGEST_LIFETIME_MS = 24 * 60 * 60 * 1000;
const SHAREABLE_LABEL = "containerd.io/namespace.shareable";

/**
 * This starts or resumes an ingest of a namespace. A blob that another namespace holds is taken over without its bytes,
 * where the sharing policy allows it.
 *
 * @throws unavailable - another writer holds the ref
 * @throws not_found - the view's lease does not exist
 */
export async function openNamespacedWriter(
  scope: Scope,
  backend: BackendContent,
  ref: string,
  options: WriterOptions,
): Promise<ContentWriter> {
  requireLease(scope);
  await using taken = new AsyncDisposableStack();
  taken.use(backend.lockRef(scope.namespace, ref));
  if (options.expected !== undefined) taken.use(await backend.pin(options.expected));
  const shared = await findShared(scope, backend, options);
  const known = scope.database.index.find(ingests, pathIn(scope, ref));
  const backendRef = known?.backendRef ?? `${scope.namespace}/${await scope.database.nextSequence()}/${ref}`;
  let writer: ContentWriter | undefined;
  backend.ingestsInFlight.add(backendRef);
  try {
    if (shared === undefined) {
      const { total, signal } = options;
      // The digest is kept from the backend: it may have the blob for another namespace, and this one must still show it.
      const opened = await backend.store.writer(backendRef, { signal, ...(total === undefined ? {} : { total }) });
      writer = taken.use(opened);
    }
    const record = await recordIngest(scope, { ref, backendRef, shared, startedAt: known?.startedAt }, options);
    return new NamespacedWriter({ scope, backend, record, shared, writer, resources: taken.move() });
  } catch (error) {
    if (known === undefined && writer !== undefined) {
      await writer[Symbol.asyncDispose]();
      // What cannot be undone here is left to the collector: no record names it.
      await backend.store.abort(backendRef).catch(() => {});
    }
    throw error;
  } finally {
    backend.ingestsInFlight.delete(backendRef);
  }
}

function recordIngest(
  scope: Scope,
  ingest: { ref: string; backendRef: string; shared: SharedBlob | undefined; startedAt: number | undefined },
  options: WriterOptions,
): Promise<IngestRecord> {
  const { ref, backendRef, shared } = ingest;
  return scope.database.update((tx) => {
    const leased = attachToLease(tx, scope, "ingests", ref);
    const now = Date.now();
    const record: IngestRecord = {
      ref,
      backendRef,
      size: shared?.size ?? 0,
      startedAt: ingest.startedAt ?? now,
      ...(shared === undefined ? {} : { expected: shared.digest }),
      ...(leased ? {} : { expireAt: now + INGEST_LIFETIME_MS }),
    };
    tx.put(ingests, pathIn(scope, ref), record);
    return record;
  }, options);
}

async function findShared(
  scope: Scope,
  backend: BackendContent,
  { expected, total = 0, signal }: WriterOptions,
): Promise<SharedBlob | undefined> {
  if (expected === undefined || !mayShare(scope, backend, expected)) return undefined;
  try {
    const { size } = await backend.store.info(expected, { signal });
    return total === 0 || total === size ? { digest: expected, size } : undefined;
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

function mayShare({ database: { index } }: Scope, backend: BackendContent, digest: Digest): boolean {
  const holders = index.buckets(blobs).filter((bucket) => bucket.has(digest));
  if (backend.sharingPolicy === "shared") return holders.length > 0;
  return holders.some(
    ({ namespace }) => index.find(namespaces, namespacePath(namespace))?.get(SHAREABLE_LABEL) === "true",
  );
}
