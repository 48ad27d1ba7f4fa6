import { mkdir, stat, unlink } from "node:fs/promises";

import type { CallOptions } from "@berth/core/any";
import type {
  ContentInfo,
  ContentReader,
  ContentStore,
  ContentWriter,
  IngestStatus,
  ListOptions,
  WriterOptions,
} from "@berth/core/content";
import { type Logger, silentLogger } from "@berth/core/log";
import {
  alreadyExists,
  failedPrecondition,
  fromSystemError,
  ignoreNotFound,
  invalidArgument,
  messageOf,
  notFound,
  systemErrorCode,
} from "@berth/errors";
import { adapt, parseFilters } from "@berth/filters";
import type { Digest } from "@berth/oci";

import { blobInfo } from "./blob-info.ts";
import { blobPath, ingestPath, type StorePaths, storePaths } from "./blob-path.ts";
import type { StoreContext } from "./commit-blob.ts";
import { findIngest, ingestDirectory, listIngests, removeBrokenIngests, removeIngest } from "./ingest-directory.ts";
import { KeyedLock } from "@berth/core/keyed-lock";
import { listDigests } from "./list-digests.ts";
import { KeptReader, LocalReader } from "./local-reader.ts";
import { LocalWriter } from "./local-writer.ts";
import { LostBlobs } from "./lost-blobs.ts";
import { OpenBlobs } from "./open-blobs.ts";
import { SmallBlobs } from "./small-blobs.ts";
import { RefLocks } from "@berth/core/ref-locks";

/** Options of {@link createLocalContentStore}. */
export interface LocalContentStoreOptions {
  /** Directory of the store; made with its parents (0755) when missing. One process may use it at a time. */
  readonly root: string;
  readonly log?: Logger;
}

/**
 * This opens a content store on a directory, in containerd's layout. It holds files open only for readers and writers, and needs no disposal.
 *
 * It keeps no labels: those of a commit are ignored, `update` fails with failed_precondition. The metadata database has them.
 *
 * @see containerd plugins/content/local
 */
export async function createLocalContentStore(options: LocalContentStoreOptions): Promise<ContentStore> {
  return new LocalContentStore(await openStoreContext(options), new OpenBlobs(0));
}

/** This makes the directory of a store, tidies up what a crash left of ingests, and returns what the parts of the store share. */
export async function openStoreContext(
  options: LocalContentStoreOptions & Pick<StoreContext, "onSynced">,
): Promise<StoreContext> {
  const { root, log = silentLogger, ...rest } = options;
  const paths = storePaths(root);
  await mkdir(root, { recursive: true, mode: 0o755 });
  await removeBrokenIngests(paths.ingests).catch((error: unknown) => {
    // Litter is no reason not to serve what is whole.
    log.warn("failed to remove broken ingests", { path: paths.ingests, error: messageOf(error) });
  });
  return { ...rest, paths, commits: new KeyedLock(), lost: await LostBlobs.open(paths), log };
}

/** As many files are looked at side by side while listing. */
const LIST_BATCH = 64;

/** See {@link createLocalContentStore}. */
export class LocalContentStore implements ContentStore {
  readonly #paths: StorePaths;
  readonly #context: StoreContext;
  readonly #locks = new RefLocks();
  readonly #small = new SmallBlobs();
  readonly #open: OpenBlobs;

  constructor(context: StoreContext, open: OpenBlobs) {
    this.#paths = context.paths;
    this.#context = context;
    this.#open = open;
    // as long-lived as the store
    context.lost.watch((digest) => this.#forget(digest));
  }

  async info(digest: Digest, options: CallOptions = {}): Promise<ContentInfo> {
    options.signal?.throwIfAborted();
    const info = await this.#find(digest);
    if (info === undefined) throw notFound(`content ${digest}`);
    return info;
  }

  async update(change: { readonly digest: Digest }): Promise<ContentInfo> {
    await this.info(change.digest);
    throw failedPrecondition(`update content ${change.digest}: this store keeps no labels`);
  }

  async *list(options: ListOptions = {}): AsyncIterable<ContentInfo> {
    const filter = parseFilters(options.filters ?? []);
    const digests = await listDigests(this.#paths, this.#context.log);
    for (let start = 0; start < digests.length; start += LIST_BATCH) {
      options.signal?.throwIfAborted();
      const infos = await Promise.all(digests.slice(start, start + LIST_BATCH).map((digest) => this.#find(digest)));
      // A blob deleted meanwhile is none.
      for (const info of infos) if (info !== undefined && filter.matches(adaptInfo(info))) yield info;
    }
  }

  async delete(digest: Digest, options: CallOptions = {}): Promise<void> {
    options.signal?.throwIfAborted();
    try {
      await unlink(blobPath(this.#paths, digest));
    } catch (error) {
      throw systemErrorCode(error) === "ENOENT" ? notFound(`content ${digest}`) : fromSystemError(error);
    } finally {
      this.#forget(digest);
    }
  }

  async reader(digest: Digest, options: CallOptions = {}): Promise<ContentReader> {
    options.signal?.throwIfAborted();
    const path = blobPath(this.#paths, digest);
    const kept = this.#small.find(digest);
    if (kept !== undefined) return new KeptReader(kept, path);
    const { age } = this.#small;
    try {
      const blob = await this.#open.acquire(digest, path);
      const onWhole = (bytes: Uint8Array): void => this.#small.keep(digest, bytes, age);
      return new LocalReader(blob, { path, onWhole, release: () => this.#open.release(digest, blob) });
    } catch (error) {
      throw systemErrorCode(error) === "ENOENT" ? notFound(`content ${digest}`) : fromSystemError(error);
    }
  }

  async writer(ref: string, options: WriterOptions = {}): Promise<ContentWriter> {
    const { expected, total = 0, signal } = options;
    signal?.throwIfAborted();
    if (!Number.isSafeInteger(total) || total < 0) throw invalidArgument(`ref ${ref}: total ${total} is not a size`);
    ingestPath(this.#paths, ref); // refuses refs that cannot be stored before they are locked
    const lock = this.#locks.acquire(ref);
    try {
      if (expected !== undefined) await this.#mustBeNew(expected);
    } catch (error) {
      lock[Symbol.dispose]();
      throw error;
    }
    return LocalWriter.open(this.#context, { ref, total, expected, lock, signal });
  }

  async status(ref: string, options: CallOptions = {}): Promise<IngestStatus> {
    options.signal?.throwIfAborted();
    const status = await findIngest(ingestDirectory(ingestPath(this.#paths, ref)), ref);
    if (status === undefined) throw notFound(`ref ${ref}`);
    return status;
  }

  async *listStatuses(options: ListOptions = {}): AsyncIterable<IngestStatus> {
    const filter = parseFilters(options.filters ?? []);
    for (const directory of await listIngests(this.#paths.ingests)) {
      options.signal?.throwIfAborted();
      const status = await findIngest(directory);
      if (status !== undefined && filter.matches(adapt({ ref: status.ref }))) yield status;
    }
  }

  async abort(ref: string, options: CallOptions = {}): Promise<void> {
    options.signal?.throwIfAborted();
    const directory = ingestDirectory(ingestPath(this.#paths, ref));
    if ((await stat(directory.path).catch(ignoreNotFound)) === undefined) throw notFound(`ref ${ref}`);
    await removeIngest(directory);
  }

  watchLost(listener: (digest: Digest) => void): Disposable {
    return this.#context.lost.watch(listener);
  }

  #forget(digest: Digest): void {
    this.#small.forget(digest);
    this.#open.forget(digest);
  }

  async #find(digest: Digest): Promise<ContentInfo | undefined> {
    const file = await stat(blobPath(this.#paths, digest)).catch(ignoreNotFound);
    return file === undefined ? undefined : blobInfo(digest, file);
  }

  async #mustBeNew(digest: Digest): Promise<void> {
    await this.#context.commits.settled(digest);
    if ((await this.#find(digest)) !== undefined) throw alreadyExists(`content ${digest}`);
  }
}

function adaptInfo(info: ContentInfo) {
  return adapt({ digest: info.digest, size: String(info.size) }, { labels: info.labels });
}
