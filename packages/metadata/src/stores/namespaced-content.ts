import { ContentDeleteSchema } from "@berth/api/containerd/events/content";
import type { CallOptions } from "@berth/core/any";
import type {
  ContentInfo,
  ContentReader,
  ContentStore,
  ContentWriter,
  IngestStatus,
  ListOptions,
  UpdateOptions,
  WriterOptions,
} from "@berth/core/content";
import type { Labels } from "@berth/core/labels";
import { validateLabels } from "@berth/core/labels";
import { alreadyExists, invalidArgument, isNotFound, notFound } from "@berth/errors";
import { adapt } from "@berth/filters";
import type { Digest } from "@berth/oci";
import { parseDigest } from "@berth/oci";

import type { IngestRecord } from "../database/tables.ts";
import { blobs, ingests } from "../database/tables.ts";
import type { BackendContent } from "./backend-content.ts";
import { storedLabels, updateLabels } from "./field-paths.ts";
import { attachToLease, detachFromLease } from "./lease-resource.ts";
import { listRecords } from "./list-records.ts";
import { openNamespacedWriter } from "./open-writer.ts";
import type { Scope } from "./scope.ts";
import { pathIn } from "./scope.ts";

/** The blobs and ingests of one namespace: the records here, the bytes in a store that knows no namespaces. */
export class NamespacedContent implements ContentStore {
  readonly #scope: Scope;
  readonly #backend: BackendContent;

  constructor(scope: Scope, backend: BackendContent) {
    this.#scope = scope;
    this.#backend = backend;
  }

  async info(digest: Digest, options: CallOptions = {}): Promise<ContentInfo> {
    options.signal?.throwIfAborted();
    return this.#require(digest);
  }

  async update(
    change: { readonly digest: Digest; readonly labels: Labels },
    options: UpdateOptions = {},
  ): Promise<ContentInfo> {
    const { digest } = change;
    return this.#scope.database.update((tx) => {
      const current = tx.get(blobs, pathIn(this.#scope, digest));
      if (current === undefined) throw notFound(`content ${digest}`);
      const labels = updateLabels(current.labels, change.labels, options.fieldpaths);
      if (labels === undefined) {
        throw invalidArgument(`cannot update ${JSON.stringify(options.fieldpaths)} fields of content ${digest}`);
      }
      validateLabels(labels);
      const blob = { ...current, labels: storedLabels(labels), updatedAt: Date.now() };
      tx.put(blobs, pathIn(this.#scope, digest), blob);
      return blob;
    }, options);
  }

  list(options: ListOptions = {}): AsyncIterable<ContentInfo> {
    const { database, namespace } = this.#scope;
    const adaptor = ({ digest, size, labels }: ContentInfo) => adapt({ digest, size: String(size) }, { labels });
    return listRecords(database.index.bucket(blobs, namespace).sorted(), adaptor, options);
  }

  async delete(digest: Digest, options: CallOptions = {}): Promise<void> {
    const { namespace } = this.#scope;
    await this.#scope.database.update((tx) => {
      if (!tx.has(blobs, pathIn(this.#scope, digest))) throw notFound(`content ${digest}`);
      tx.delete(blobs, pathIn(this.#scope, digest));
      detachFromLease(tx, this.#scope, "content", digest);
      tx.markDirty();
      tx.emit(namespace, "/content/delete", ContentDeleteSchema, { digest });
    }, options);
  }

  async reader(digest: Digest, options: CallOptions = {}): Promise<ContentReader> {
    this.#require(digest);
    return this.#backend.store.reader(digest, options);
  }

  async writer(ref: string, options: WriterOptions = {}): Promise<ContentWriter> {
    if (ref === "") throw invalidArgument("ref must not be empty");
    const { expected } = options;
    if (expected !== undefined && (await this.#holdIfPresent(parseDigest(expected), options))) {
      throw alreadyExists(`content ${expected}`);
    }
    return openNamespacedWriter(this.#scope, this.#backend, ref, options);
  }

  async status(ref: string, options: CallOptions = {}): Promise<IngestStatus> {
    const ingest = this.#findIngest(ref);
    // A shared ingest has no bytes of its own: there is nothing to resume.
    if (ingest === undefined || ingest.expected !== undefined) throw notFound(`ingest ${JSON.stringify(ref)}`);
    return { ...(await this.#backend.store.status(ingest.backendRef, options)), ref };
  }

  listStatuses(options: ListOptions = {}): AsyncIterable<IngestStatus> {
    return listRecords(this.#statuses(options), ({ ref }) => adapt({ ref }), options);
  }

  async abort(ref: string, options: CallOptions = {}): Promise<void> {
    const backendRef = await this.#scope.database.update((tx) => {
      const ingest = tx.get(ingests, pathIn(this.#scope, ref));
      if (ingest === undefined) throw notFound(`ingest ${JSON.stringify(ref)}`);
      tx.delete(ingests, pathIn(this.#scope, ref));
      detachFromLease(tx, this.#scope, "ingests", ref);
      return ingest.backendRef;
    }, options);
    try {
      await this.#backend.store.abort(backendRef, options);
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }

  /** This says whether the blob is here, and puts it into the view's lease: after that the collector leaves it. */
  async #holdIfPresent(digest: Digest, options: CallOptions): Promise<boolean> {
    if (this.#find(digest) === undefined) return false;
    if (this.#scope.lease === undefined) return true;
    return this.#scope.database.update((tx) => {
      if (!tx.has(blobs, pathIn(this.#scope, digest))) return false;
      return attachToLease(tx, this.#scope, "content", digest);
    }, options);
  }

  async *#statuses({ signal }: CallOptions): AsyncIterable<IngestStatus> {
    const { database, namespace } = this.#scope;
    for (const { ref } of database.index.bucket(ingests, namespace).sorted()) {
      try {
        yield await this.status(ref, { signal });
      } catch (error) {
        // Shared, or gone while the list was read.
        if (!isNotFound(error)) throw error;
      }
    }
  }

  #find(digest: Digest): ContentInfo | undefined {
    return this.#scope.database.index.bucket(blobs, this.#scope.namespace).get(digest);
  }

  #findIngest(ref: string): IngestRecord | undefined {
    return this.#scope.database.index.bucket(ingests, this.#scope.namespace).get(ref);
  }

  #require(digest: Digest): ContentInfo {
    const info = this.#find(digest);
    if (info === undefined) throw notFound(`content ${digest}`);
    return info;
  }
}
