import { ContentCreateSchema } from "@berth/api/containerd/events/content";
import type { CallOptions } from "@berth/core/any";
import type { CommitOptions, ContentInfo, ContentWriter, IngestStatus } from "@berth/core/content";
import { streamBlob } from "@berth/core/content";
import { noLabels, validateLabels } from "@berth/core/labels";
import { alreadyExists, failedPrecondition, invalidArgument, isAlreadyExists, wrapError } from "@berth/errors";
import type { Digest } from "@berth/oci";
import { digestAlgorithm } from "@berth/oci";

import type { BlobRecord, IngestRecord } from "../database/tables.ts";
import { blobs, ingests } from "../database/tables.ts";
import type { BackendContent } from "./backend-content.ts";
import { storedLabels } from "./field-paths.ts";
import { attachToLease, detachFromLease } from "./lease-resource.ts";
import type { Scope } from "./scope.ts";
import { pathIn } from "./scope.ts";
import { verifyStored } from "./verify-stored.ts";

/** A blob of another namespace that an ingest takes over. */
export interface SharedBlob {
  readonly digest: Digest;
  readonly size: number;
}

/** What a writer is made of; `resources` holds the locks and the backend's writer. */
export interface WriterParts {
  readonly scope: Scope;
  readonly backend: BackendContent;
  readonly record: IngestRecord;
  readonly shared: SharedBlob | undefined;
  readonly writer: ContentWriter | undefined;
  readonly resources: AsyncDisposableStack;
}

/**
 * Writes one ingest of a namespace. As long as it shares a blob it has no bytes of its own; the first change copies them.
 */
export class NamespacedWriter implements ContentWriter {
  readonly #parts: WriterParts;
  #shared: SharedBlob | undefined;
  #writer: ContentWriter | undefined;
  #closed = false;

  constructor(parts: WriterParts) {
    this.#parts = parts;
    this.#shared = parts.shared;
    this.#writer = parts.writer;
  }

  get localPath(): string | undefined {
    return this.#writer?.localPath;
  }

  async write(chunk: Uint8Array, options: CallOptions = {}): Promise<void> {
    this.#check();
    const { writer, fresh } = await this.#own(options);
    if (fresh !== undefined) {
      for await (const bytes of streamBlob(this.#parts.backend.store, fresh.digest, options))
        await writer.write(bytes, options);
    }
    await writer.write(chunk, options);
  }

  async truncate(size: number, options: CallOptions = {}): Promise<void> {
    this.#check();
    if (size !== 0) throw invalidArgument(`truncate ${this.#parts.record.ref} to ${size}: only 0 is supported`);
    await (await this.#own(options)).writer.truncate(0, options);
  }

  async status(options: CallOptions = {}): Promise<IngestStatus> {
    this.#check();
    const { ref, startedAt } = this.#parts.record;
    if (this.#writer !== undefined) return { ...(await this.#writer.status(options)), ref };
    const { size = 0, digest } = this.#shared ?? {};
    const expected = digest === undefined ? {} : { expected: digest };
    return { ref, offset: size, total: size, startedAt, updatedAt: startedAt, ...expected };
  }

  async digest(options: CallOptions = {}): Promise<Digest> {
    this.#check();
    if (this.#shared !== undefined) return this.#shared.digest;
    return (await this.#own(options)).writer.digest(options);
  }

  async commit(options: CommitOptions = {}): Promise<ContentInfo> {
    this.#check();
    this.#closed = true;
    await using _resources = this.#parts.resources;
    validateLabels(options.labels ?? noLabels);
    // Awaited here: the locks are held until it is over.
    return await (this.#shared === undefined ? this.#commitOwn(options) : this.#commitShared(this.#shared, options));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    await this.#parts.resources.disposeAsync();
  }

  async #commitShared(shared: SharedBlob, options: CommitOptions): Promise<ContentInfo> {
    const { ref } = this.#parts.record;
    const { size = 0, digest = shared.digest } = options;
    if (size > 0 && size !== shared.size) {
      throw failedPrecondition(`commit ${ref}: expected ${size} bytes, got ${shared.size}`);
    }
    if (digest !== shared.digest) throw failedPrecondition(`commit ${ref}: expected ${digest}, got ${shared.digest}`);
    return this.#record(shared, options);
  }

  async #commitOwn(options: CommitOptions): Promise<ContentInfo> {
    const { backend, resources } = this.#parts;
    const { writer } = await this.#own(options);
    const { offset } = await writer.status(options);
    const shown = await writer.digest(options);
    const digest = options.digest ?? shown;
    // From here to the record nothing but this pin says that somebody wants the blob.
    resources.use(await backend.pin(digest));
    const { size = 0, signal } = options;
    try {
      await writer.commit({ digest, signal, ...(size > 0 ? { size } : {}) });
    } catch (error) {
      // The bytes were shown and are right; the file is there for another namespace.
      if (!isAlreadyExists(error)) throw error;
    }
    // A store elsewhere may say that it has a blob before it looks at the bytes, and what it says of them is in another algorithm.
    if (writer.localPath === undefined && digestAlgorithm(digest) !== digestAlgorithm(shown)) {
      await verifyStored(backend.store, digest, shown, { signal }).catch((error: unknown) => {
        backend.forsaken.add(digest);
        throw wrapError(error, `commit ${this.#parts.record.ref}`);
      });
    }
    return this.#record({ digest, size: offset }, options);
  }

  /** The backend has the blob: this makes it visible in the namespace, and the ingest is over. */
  async #record({ digest, size }: SharedBlob, { labels = noLabels, signal }: CommitOptions): Promise<ContentInfo> {
    const { scope, backend, record } = this.#parts;
    let created: BlobRecord | undefined;
    try {
      created = await scope.database.update(
        (tx) => {
          tx.delete(ingests, pathIn(scope, record.ref));
          detachFromLease(tx, scope, "ingests", record.ref);
          attachToLease(tx, scope, "content", digest);
          if (tx.has(blobs, pathIn(scope, digest))) return undefined;
          const now = Date.now();
          const blob = { digest, size, labels: storedLabels(labels), createdAt: now, updatedAt: now };
          tx.put(blobs, pathIn(scope, digest), blob);
          tx.emit(scope.namespace, "/content/create", ContentCreateSchema, { digest, size: BigInt(size) });
          return blob;
        },
        { signal },
      );
    } catch (error) {
      backend.forsaken.add(digest);
      throw error;
    }
    if (created === undefined) throw alreadyExists(`content ${digest}`);
    return created;
  }

  /** This makes sure that the ingest has bytes of its own; `fresh` is the blob that it shared until now. */
  async #own(options: CallOptions): Promise<{ readonly writer: ContentWriter; readonly fresh?: SharedBlob }> {
    if (this.#writer !== undefined) return { writer: this.#writer };
    const { scope, backend, record, resources } = this.#parts;
    const fresh = this.#shared;
    const writer = resources.use(await backend.store.writer(record.backendRef, options));
    if ((await writer.status(options)).offset > 0) await writer.truncate(0, options);
    const { expected: _, ...own } = record;
    await scope.database.update((tx) => tx.put(ingests, pathIn(scope, record.ref), { ...own, size: 0 }), options);
    this.#writer = writer;
    this.#shared = undefined;
    return { writer, ...(fresh === undefined ? {} : { fresh }) };
  }

  #check(): void {
    if (this.#closed) throw failedPrecondition(`writer of ${this.#parts.record.ref} is closed`);
  }
}
