import { isAlreadyExists, resourceExhausted } from "@berth/errors";
import type { Descriptor, Digest } from "@berth/oci";

import type { CallOptions } from "./any.ts";
import type { Labels } from "./labels.ts";

/** What is known of a stored blob. Times are milliseconds since 1970. */
export interface ContentInfo {
  readonly digest: Digest;
  readonly size: number;
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly labels: Labels;
}

/** The state of an ingest: a write that is not committed yet. */
export interface IngestStatus {
  readonly ref: string;
  /** Bytes received so far. */
  readonly offset: number;
  /** Bytes expected, 0 when unknown. */
  readonly total: number;
  /** Digest expected, when the writer was told one. */
  readonly expected?: Digest;
  readonly startedAt: number;
  readonly updatedAt: number;
}

/** Options of {@link ContentStore.writer}. */
export interface WriterOptions extends CallOptions {
  /** Expected size and digest; lets the store answer already_exists at once. */
  readonly total?: number;
  readonly expected?: Digest;
}

/** Options of {@link ContentWriter.commit}. */
export interface CommitOptions extends CallOptions {
  /** Expected size in bytes; 0 or absent when unknown. */
  readonly size?: number;
  /** Expected digest. */
  readonly digest?: Digest;
  /** Labels of the blob. */
  readonly labels?: Labels;
}

/** A fieldpath-restricted change, as `google.protobuf.FieldMask` gives it: `labels`, `labels.<key>`. */
export interface UpdateOptions extends CallOptions {
  /** Absent or empty: everything that may change is replaced. */
  readonly fieldpaths?: readonly string[];
}

/** Options of lists: each filter is a filter of `@berth/filters`, any of which must match; none matches all. */
export interface ListOptions extends CallOptions {
  readonly filters?: readonly string[];
}

/** Options of {@link ContentReader.readAt}. */
export interface ReadAtOptions extends CallOptions {
  /** Memory of the caller that the bytes may be put into, if they fit; not every reader does so. */
  readonly into?: Uint8Array;
}

/**
 * Reads one blob at any place. Holds a file descriptor; the owner disposes it. Concurrent reads are allowed.
 */
export interface ContentReader extends AsyncDisposable {
  /** Size of the blob in bytes. */
  readonly size: number;
  /**
   * This reads up to `length` bytes at `offset`; fewer only at the end of the blob, none past it.
   *
   * The bytes belong to the caller, unless they lie in the memory that it gave.
   */
  readAt(offset: number, length: number, options?: ReadAtOptions): Promise<Uint8Array>;
  /**
   * The path of a file that holds exactly the bytes of the blob, if the store is on this machine: for workers that would
   * rather open it themselves. Valid until the reader is disposed.
   */
  readonly localPath?: string;
}

/**
 * Writes one ingest. The holder has the lock of its ref until it commits, or disposes the writer; a disposed writer's bytes
 * stay for a later writer of the same ref to resume.
 *
 * Calls must not overlap.
 */
export interface ContentWriter extends AsyncDisposable {
  /** This appends. @throws failed_precondition - committed or disposed */
  write(chunk: Uint8Array, options?: CallOptions): Promise<void>;
  /** This drops all bytes received; only size 0 is supported. @throws invalid_argument - another size */
  truncate(size: number, options?: CallOptions): Promise<void>;
  /** This returns the state of the ingest, with the offset at which the next chunk goes. */
  status(options?: CallOptions): Promise<IngestStatus>;
  /** This returns the digest of the bytes received so far. */
  digest(options?: CallOptions): Promise<Digest>;
  /**
   * This makes the ingested bytes readable under their digest and closes this writer, whatever the outcome.
   * When it resolves, the bytes and their directory entry have reached the disk.
   *
   * @throws already_exists - the digest is stored already; the ingest is removed
   * @throws failed_precondition - size or digest differ from those given, or the writer is closed; nothing is stored
   * @see containerd core/content/content.go, Writer.Commit
   */
  commit(options?: CommitOptions): Promise<ContentInfo>;
  /**
   * The path of the file that the bytes go to, if the store is on this machine: whoever opens it sees what `write` has taken, also after
   * the commit. Absent where it is not known, or there is none.
   */
  readonly localPath?: string | undefined;
}

/** Gives readers of blobs: the narrow half that most users need. */
export interface ContentProvider {
  /** This opens a blob. The caller disposes the reader. @throws not_found */
  reader(digest: Digest, options?: CallOptions): Promise<ContentReader>;
}

/** Gives writers of blobs. */
export interface ContentIngester {
  /**
   * This starts or resumes the ingest `ref` and locks it. The caller disposes the writer.
   *
   * @throws invalid_argument - `ref` is empty
   * @throws already_exists - `expected` is stored already
   * @throws unavailable - another writer holds `ref`; the message names it and how long it has been held
   */
  writer(ref: string, options?: WriterOptions): Promise<ContentWriter>;
}

/**
 * Blobs by digest. What is stored never changes; only labels do.
 *
 * @see containerd core/content/content.go, Store
 */
export interface ContentStore extends ContentProvider, ContentIngester {
  /** @throws not_found */
  info(digest: Digest, options?: CallOptions): Promise<ContentInfo>;
  /**
   * This changes labels (`labels`, `labels.<key>`) and returns the new state.
   *
   * @throws not_found
   * @throws invalid_argument - another field path
   */
  update(change: { readonly digest: Digest; readonly labels: Labels }, options?: UpdateOptions): Promise<ContentInfo>;
  /** This lists blobs in order of their digest; filter fields are `digest`, `size`, `labels.*`. */
  list(options?: ListOptions): AsyncIterable<ContentInfo>;
  /** @throws not_found */
  delete(digest: Digest, options?: CallOptions): Promise<void>;
  /** @throws not_found - no such ingest */
  status(ref: string, options?: CallOptions): Promise<IngestStatus>;
  /** This lists ingests; the only filter field is `ref`. */
  listStatuses(options?: ListOptions): AsyncIterable<IngestStatus>;
  /** This drops an ingest and its bytes. @throws not_found - no such ingest */
  abort(ref: string, options?: CallOptions): Promise<void>;
  /**
   * This calls `listener` with each blob that turned out to be damaged, as after a crash, and that the store therefore no longer has; with
   * those known already before it returns. Whoever keeps records of blobs drops theirs, so that the blob is fetched again. Stores that
   * do not look have no such method.
   */
  watchLost?(listener: (digest: Digest) => void): Disposable;
}

/** Options of {@link readBlob}. */
export interface ReadBlobOptions extends CallOptions {
  /** The most bytes to take into memory. */
  readonly limitBytes: number;
}

/** This reads a small blob whole. @throws not_found, resource_exhausted - larger than the limit */
export async function readBlob(store: ContentProvider, digest: Digest, options: ReadBlobOptions): Promise<Uint8Array> {
  await using reader = await store.reader(digest, options);
  if (reader.size > options.limitBytes) {
    throw resourceExhausted(`blob ${digest} has ${reader.size} bytes, at most ${options.limitBytes} are read at once`);
  }
  return reader.readAt(0, reader.size, options);
}

/** Options of {@link streamBlob}. */
export interface StreamBlobOptions extends CallOptions {
  /** Where to begin; 0. */
  readonly offset?: number;
  /** 1 MiB. */
  readonly chunkBytes?: number;
  /** A chunk is valid only until the next one is asked for. Then one piece of memory serves for all, and the collector is not called for each few dozen of them. */
  readonly reuse?: boolean;
}

/** This streams a blob from `offset`, in chunks of at most `chunkBytes` (1 MiB). @throws not_found */
export async function* streamBlob(
  store: ContentProvider,
  digest: Digest,
  options: StreamBlobOptions = {},
): AsyncIterable<Uint8Array> {
  await using reader = await store.reader(digest, options);
  const { offset: from = 0, chunkBytes = 1 << 20, signal } = options;
  const into = options.reuse === true ? Buffer.allocUnsafeSlow(Math.min(chunkBytes, reader.size)) : undefined;
  for (let offset = from; offset < reader.size; offset += chunkBytes) {
    yield await reader.readAt(offset, Math.min(chunkBytes, reader.size - offset), { signal, ...(into && { into }) });
  }
}

/**
 * This stores `body` under the digest of `descriptor`; a blob that is there already is fine, and then gets no labels.
 *
 * @throws failed_precondition - the bytes are not those of the descriptor; nothing is stored
 */
export async function writeBlob(
  store: ContentIngester,
  ref: string,
  body: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  descriptor: Pick<Descriptor, "digest" | "size">,
  options: CallOptions & { readonly labels?: Labels } = {},
): Promise<void> {
  const { digest, size } = descriptor;
  try {
    await using writer = await store.writer(ref, { ...options, total: size, expected: digest });
    if ((await writer.status(options)).offset > 0) await writer.truncate(0, options);
    for await (const chunk of body) await writer.write(chunk, options);
    await writer.commit({ ...options, digest, size });
  } catch (error) {
    if (!isAlreadyExists(error)) throw error;
  }
}
