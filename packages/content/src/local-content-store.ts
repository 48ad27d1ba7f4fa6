import { mkdir, readdir, stat, unlink } from "node:fs/promises";
import { join } from "node:path";

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
  invalidArgument,
  notFound,
  systemErrorCode,
} from "@berth/errors";
import { adapt, parseFilters } from "@berth/filters";
import { type Digest, isDigest, isDigestAlgorithm } from "@berth/oci";

import { blobInfo } from "./blob-info.ts";
import { blobPath, ingestPath, type StorePaths, storePaths } from "./blob-path.ts";
import type { StoreContext } from "./commit-blob.ts";
import { findIngest, ignoreMissing, ingestDirectory, listIngests, removeIngest } from "./ingest-directory.ts";
import { KeyedMutex } from "./keyed-mutex.ts";
import { LocalReader } from "./local-reader.ts";
import { LocalWriter } from "./local-writer.ts";
import { RefLocks } from "./ref-locks.ts";

/** Options of {@link createLocalContentStore}. */
export interface LocalContentStoreOptions {
  /** Directory of the store; made with its parents (0755) when missing. One process may use it at a time. */
  readonly root: string;
  /** So many bytes of an ingest go to the disk while more arrive; 32 MiB. */
  readonly syncEveryBytes?: number;
  readonly log?: Logger;
}

/**
 * This opens a content store on a directory, in containerd's layout. It holds no open files and needs no disposal.
 *
 * It keeps no labels: those of a commit are ignored, `update` fails with failed_precondition. The metadata database has them.
 *
 * @see containerd plugins/content/local
 */
export async function createLocalContentStore(options: LocalContentStoreOptions): Promise<ContentStore> {
  await mkdir(options.root, { recursive: true, mode: 0o755 });
  return new LocalContentStore(options);
}

/** As many files are looked at side by side while listing. */
const LIST_BATCH = 64;

class LocalContentStore implements ContentStore {
  readonly #paths: StorePaths;
  readonly #context: StoreContext;
  readonly #locks = new RefLocks();

  constructor({ root, log = silentLogger, syncEveryBytes }: LocalContentStoreOptions) {
    const paths = storePaths(root);
    this.#paths = paths;
    this.#context = {
      paths,
      commits: new KeyedMutex(),
      log,
      ...(syncEveryBytes === undefined ? {} : { syncEveryBytes }),
    };
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
    const digests = await this.#digests();
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
    }
  }

  async reader(digest: Digest, options: CallOptions = {}): Promise<ContentReader> {
    options.signal?.throwIfAborted();
    try {
      return await LocalReader.open(blobPath(this.#paths, digest));
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
    if ((await stat(directory.path).catch(ignoreMissing)) === undefined) throw notFound(`ref ${ref}`);
    await removeIngest(directory);
  }

  async #find(digest: Digest): Promise<ContentInfo | undefined> {
    const file = await stat(blobPath(this.#paths, digest)).catch(ignoreMissing);
    return file === undefined ? undefined : blobInfo(digest, file);
  }

  async #mustBeNew(digest: Digest): Promise<void> {
    await this.#context.commits.settled(digest);
    if ((await this.#find(digest)) !== undefined) throw alreadyExists(`content ${digest}`);
  }

  async #digests(): Promise<Digest[]> {
    const algorithms = (await readdir(this.#paths.blobs).catch(ignoreMissing)) ?? [];
    const digests: Digest[] = [];
    for (const algorithm of algorithms.filter(isDigestAlgorithm)) {
      for (const name of await readdir(join(this.#paths.blobs, algorithm))) {
        const digest = `${algorithm}:${name}`;
        if (isDigest(digest)) digests.push(digest);
        else this.#context.log.warn("file among the blobs is not named like one", { path: digest });
      }
    }
    return digests.toSorted();
  }
}

function adaptInfo(info: ContentInfo) {
  return adapt({ digest: info.digest, size: String(info.size) }, { labels: info.labels });
}
