import { createHash } from "node:crypto";

import type {
  CommitOptions,
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
import { alreadyExists, failedPrecondition, notFound, unavailable } from "@berth/errors";
import type { Digest } from "@berth/oci";
import { digestAlgorithm, formatDigest, parseDigest } from "@berth/oci";

interface Ingest {
  readonly ref: string;
  bytes: Uint8Array[];
  locked: boolean;
}

/** A content store in memory. Its `list` ignores filters other than `labels."…"==<value>`. */
export class MemoryContentStore implements ContentStore {
  readonly blobs = new Map<Digest, { readonly bytes: Uint8Array; labels: Labels }>();
  readonly ingests = new Map<string, Ingest>();

  async info(digest: Digest): Promise<ContentInfo> {
    const blob = this.blobs.get(digest);
    if (blob === undefined) throw notFound(`content ${digest}`);
    return { digest, size: blob.bytes.length, createdAt: 0, updatedAt: 0, labels: blob.labels };
  }

  async update(change: { readonly digest: Digest; readonly labels: Labels }, options?: UpdateOptions) {
    const blob = this.blobs.get(change.digest);
    if (blob === undefined) throw notFound(`content ${change.digest}`);
    const labels = new Map(options?.fieldpaths === undefined ? [] : blob.labels);
    for (const path of options?.fieldpaths ?? []) labels.delete(path.slice("labels.".length));
    for (const [key, value] of change.labels) labels.set(key, value);
    blob.labels = labels;
    return this.info(change.digest);
  }

  async *list(options?: ListOptions): AsyncIterable<ContentInfo> {
    for (const [digest, { labels }] of this.blobs) {
      const matches = (options?.filters ?? []).some((filter) => {
        const [, key = "", value] = /^labels\."(.*)"==(.*)$/.exec(filter) ?? [];
        return labels.get(key) === value;
      });
      if (matches || options?.filters === undefined) yield this.info(digest);
    }
  }

  async delete(digest: Digest): Promise<void> {
    if (!this.blobs.delete(digest)) throw notFound(`content ${digest}`);
  }

  async status(ref: string): Promise<IngestStatus> {
    const ingest = this.ingests.get(ref);
    if (ingest === undefined) throw notFound(`ingest ${ref}`);
    return { ref, offset: Buffer.concat(ingest.bytes).length, total: 0, startedAt: 0, updatedAt: 0 };
  }

  async *listStatuses(): AsyncIterable<IngestStatus> {
    for (const ref of this.ingests.keys()) yield this.status(ref);
  }

  async abort(ref: string): Promise<void> {
    if (!this.ingests.delete(ref)) throw notFound(`ingest ${ref}`);
  }

  async reader(digest: Digest): Promise<ContentReader> {
    const { bytes } = this.blobs.get(digest) ?? {};
    if (bytes === undefined) throw notFound(`content ${digest}`);
    return {
      size: bytes.length,
      // A copy, which `slice` of a Buffer is not: the bytes belong to the caller.
      readAt: async (offset, length) => Uint8Array.from(bytes.subarray(offset, offset + length)),
      async [Symbol.asyncDispose]() {},
    };
  }

  async writer(ref: string, options: WriterOptions = {}): Promise<ContentWriter> {
    if (options.expected !== undefined && this.blobs.has(options.expected)) throw alreadyExists(options.expected);
    const ingest = this.ingests.get(ref) ?? { ref, bytes: [], locked: false };
    if (ingest.locked) throw unavailable(`ref ${ref} locked`);
    ingest.locked = true;
    this.ingests.set(ref, ingest);
    return new MemoryWriter(this, ingest);
  }
}

class MemoryWriter implements ContentWriter {
  readonly #store: MemoryContentStore;
  readonly #ingest: Ingest;

  constructor(store: MemoryContentStore, ingest: Ingest) {
    this.#store = store;
    this.#ingest = ingest;
  }

  async write(chunk: Uint8Array): Promise<void> {
    this.#ingest.bytes.push(new Uint8Array(chunk));
  }

  async truncate(): Promise<void> {
    this.#ingest.bytes = [];
  }

  status(): Promise<IngestStatus> {
    return this.#store.status(this.#ingest.ref);
  }

  async digest(): Promise<Digest> {
    return hash(parseDigest(`sha256:${"0".repeat(64)}`), Buffer.concat(this.#ingest.bytes));
  }

  async commit(options: CommitOptions = {}): Promise<ContentInfo> {
    await this[Symbol.asyncDispose]();
    const bytes = Buffer.concat(this.#ingest.bytes);
    const digest = options.digest ?? (await this.digest());
    if (hash(digest, bytes) !== digest) throw failedPrecondition(`digest is not ${digest}`);
    if (options.size !== undefined && options.size > 0 && options.size !== bytes.length)
      throw failedPrecondition("size");
    this.#store.ingests.delete(this.#ingest.ref);
    if (this.#store.blobs.has(digest)) throw alreadyExists(digest);
    this.#store.blobs.set(digest, { bytes, labels: options.labels ?? new Map() });
    return this.#store.info(digest);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ingest.locked = false;
  }
}

function hash(like: Digest, bytes: Uint8Array): Digest {
  const algorithm = digestAlgorithm(like);
  return formatDigest(algorithm, createHash(algorithm).update(bytes).digest("hex"));
}
