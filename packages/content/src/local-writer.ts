import { createHash, type Hash } from "node:crypto";
import { constants } from "node:fs";
import { chmod, type FileHandle, open } from "node:fs/promises";

import type { CallOptions } from "@berth/core/any";
import type { CommitOptions, ContentInfo, ContentWriter, IngestStatus } from "@berth/core/content";
import { failedPrecondition, invalidArgument, messageOf, systemErrorCode, wrapError } from "@berth/errors";
import { type Digest, digestAlgorithm, type DigestAlgorithm, formatDigest } from "@berth/oci";

import { commitBlob, type StoreContext, syncData } from "./commit-blob.ts";
import { CHUNK_BYTES, hashFile } from "./hash-file.ts";
import { createIngest, findIngest, type IngestDirectory, ingestDirectory, touchIngest } from "./ingest-directory.ts";
import { ingestPath } from "./blob-path.ts";

/** What a writer is opened with. */
export interface LocalWriterOptions extends CallOptions {
  readonly ref: string;
  readonly total: number;
  readonly expected: Digest | undefined;
  /** Held by the writer from now on, also when opening fails. */
  readonly lock: Disposable;
}

interface Ingest {
  readonly directory: IngestDirectory;
  readonly file: FileHandle;
  readonly hash: Hash;
  readonly algorithm: DigestAlgorithm;
  readonly status: IngestStatus;
}

/** Appends to the `data` file of an ingest and hashes what it appends. */
export class LocalWriter implements ContentWriter {
  readonly #context: StoreContext;
  readonly #directory: IngestDirectory;
  readonly #lock: Disposable;
  readonly #algorithm: DigestAlgorithm;
  #status: IngestStatus;
  #hash: Hash;
  /** Absent once committed or disposed. */
  #file: FileHandle | undefined;
  /** Set when a write failed: file and hash may differ from then on. */
  #broken: unknown;

  private constructor(context: StoreContext, ingest: Ingest, lock: Disposable) {
    this.#context = context;
    this.#directory = ingest.directory;
    this.#file = ingest.file;
    this.#hash = ingest.hash;
    this.#algorithm = ingest.algorithm;
    this.#status = ingest.status;
    this.#lock = lock;
  }

  /** This starts an ingest, or resumes it after hashing the bytes that are there. */
  static async open(context: StoreContext, options: LocalWriterOptions): Promise<LocalWriter> {
    try {
      return new LocalWriter(context, await openIngest(context, options), options.lock);
    } catch (error) {
      options.lock[Symbol.dispose]();
      throw error;
    }
  }

  get localPath(): string {
    return this.#directory.data;
  }

  async write(chunk: Uint8Array, options: CallOptions = {}): Promise<void> {
    const file = this.#usable();
    try {
      for (let start = 0; start < chunk.length; start += CHUNK_BYTES) {
        options.signal?.throwIfAborted();
        await this.#append(file, chunk.subarray(start, start + CHUNK_BYTES));
      }
    } finally {
      this.#status = { ...this.#status, updatedAt: Date.now() };
    }
  }

  async #append(file: FileHandle, piece: Uint8Array): Promise<void> {
    const { offset } = this.#status;
    try {
      // The pool writes while this thread hashes.
      const written = writeFully(file, piece, offset);
      this.#hash.update(piece);
      await written;
    } catch (error) {
      this.#broken = error;
      throw wrapError(error, `write ref ${this.#status.ref} at ${offset}`);
    }
    this.#status = { ...this.#status, offset: offset + piece.length };
  }

  async truncate(size: number, options: CallOptions = {}): Promise<void> {
    if (this.#file === undefined) throw this.#closed();
    if (size !== 0) throw invalidArgument(`truncate ref ${this.#status.ref} to ${size}: only 0 is supported`);
    options.signal?.throwIfAborted();
    await this.#file.truncate(0);
    this.#hash = createHash(this.#algorithm);
    this.#broken = undefined;
    this.#status = { ...this.#status, offset: 0, updatedAt: Date.now() };
  }

  async status(): Promise<IngestStatus> {
    return this.#status;
  }

  async digest(): Promise<Digest> {
    this.#usable();
    return formatDigest(this.#algorithm, this.#hash.copy().digest("hex"));
  }

  async commit(options: CommitOptions = {}): Promise<ContentInfo> {
    const file = this.#usable();
    this.#file = undefined;
    try {
      options.signal?.throwIfAborted();
      const { offset: size } = this.#status;
      const digest = await this.#verify(file, options);
      const ingest = { directory: this.#directory, file, digest, size };
      return await commitBlob(this.#context, ingest, options);
    } catch (error) {
      throw wrapError(error, `commit ref ${this.#status.ref}`);
    } finally {
      await this.#close(file);
    }
  }

  /** This compares size and digest with those wanted and returns the digest under which the bytes are stored. */
  async #verify(file: FileHandle, options: CommitOptions): Promise<Digest> {
    const { offset } = this.#status;
    const { digest: wanted, size = 0 } = options;
    if (size > 0 && size !== offset) throw failedPrecondition(`unexpected size ${offset}, expected ${size}`);
    const algorithm = wanted === undefined ? this.#algorithm : digestAlgorithm(wanted);
    const hash = algorithm === this.#algorithm ? this.#hash.copy() : await hashFile(file, algorithm, offset, options);
    const actual = formatDigest(algorithm, hash.digest("hex"));
    if (wanted !== undefined && wanted !== actual) {
      throw failedPrecondition(`unexpected digest ${actual}, expected ${wanted}`);
    }
    return actual;
  }

  /**
   * This closes a writer that was not committed: the bytes received are put on disk and kept for the next writer of the ref.
   * Failures are logged; they cost only the ingest.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    const file = this.#file;
    if (file === undefined) return;
    this.#file = undefined;
    try {
      await syncData(this.#context, { directory: this.#directory, file });
      await touchIngest(this.#directory, this.#status.updatedAt);
    } catch (error) {
      this.#context.log.warn("failed to keep ingest", { ref: this.#status.ref, error: messageOf(error) });
    } finally {
      await this.#close(file);
    }
  }

  async #close(file: FileHandle): Promise<void> {
    try {
      await file.close();
    } finally {
      this.#lock[Symbol.dispose]();
    }
  }

  #usable(): FileHandle {
    if (this.#file === undefined) throw this.#closed();
    if (this.#broken !== undefined) {
      throw failedPrecondition(`ref ${this.#status.ref}: an earlier write failed`, { cause: this.#broken });
    }
    return this.#file;
  }

  #closed(): Error {
    return failedPrecondition(`ref ${this.#status.ref}: writer is closed`);
  }
}

async function openIngest(context: StoreContext, options: LocalWriterOptions): Promise<Ingest> {
  const { ref, total, expected } = options;
  const directory = ingestDirectory(ingestPath(context.paths, ref));
  const algorithm = expected === undefined ? "sha256" : digestAlgorithm(expected);
  const found = await findIngest(directory, ref);
  const conflict = found !== undefined && total > 0 && found.total > 0 && total !== found.total;
  if (conflict) {
    context.log.warn("ingest has another total, started again", { ref, total, stored: found.total });
  }
  const resumed = conflict ? undefined : found;
  const now = Date.now();
  if (resumed === undefined) await createIngest(directory, { ref, total, startedAt: now });
  const file = await openData(directory, resumed !== undefined);
  try {
    const { size } = await file.stat();
    const hash = await hashFile(file, algorithm, size, options);
    const known = resumed ?? { ref, offset: 0, total, startedAt: now, updatedAt: now };
    const status = {
      ...known,
      offset: size,
      total: total > 0 ? total : known.total,
      ...(expected === undefined ? {} : { expected }),
    };
    return { directory, file, hash, algorithm, status };
  } catch (error) {
    await file.close();
    throw wrapError(error, `resume ref ${ref}`);
  }
}

async function openData(directory: IngestDirectory, keep: boolean): Promise<FileHandle> {
  const flags = constants.O_RDWR | constants.O_CREAT | (keep ? 0 : constants.O_TRUNC);
  try {
    return await open(directory.data, flags, 0o666);
  } catch (error) {
    if (systemErrorCode(error) !== "EACCES") throw error;
    // A commit that did not end has taken the right to write away already.
    await chmod(directory.data, 0o644);
    return open(directory.data, flags, 0o666);
  }
}

async function writeFully(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
  }
}
