import type { Digest } from "@berth/oci";

import { BlobFile } from "./blob-file.ts";

/** So many files that nobody reads stay open at most. */
const MOST_IDLE = 16;

/** The file of a blob, which its readers share. */
export interface OpenBlob {
  readonly file: BlobFile;
}

interface SharedFile extends OpenBlob {
  users: number;
  idle?: NodeJS.Timeout;
}

/**
 * The files of blobs that are read, each for a while longer than that: Go's clients read a large blob in calls of 32 KiB, and to open, look
 * at and close its file takes three turns of the thread pool, the read one.
 *
 * A blob that is deleted has to be forgotten, or its file would take its room on disk meanwhile.
 */
export class OpenBlobs implements AsyncDisposable {
  readonly #idleMs: number;
  /** From the one used longest ago to the latest. */
  readonly #kept = new Map<Digest, SharedFile>();
  #removals = 0;

  /** @param idleMs - how long a file stays open that nobody reads; 0 for none */
  constructor(idleMs: number) {
    this.#idleMs = idleMs;
  }

  /** This returns the open file of a blob; {@link release} must follow. @throws ENOENT */
  async acquire(digest: Digest, path: string): Promise<OpenBlob> {
    const kept = this.#kept.get(digest);
    if (kept !== undefined) {
      clearTimeout(kept.idle);
      kept.users += 1;
      return kept;
    }
    const removals = this.#removals;
    const opened: SharedFile = { file: await BlobFile.open(path), users: 1 };
    // what was opened before a removal may be what was removed
    if (removals === this.#removals && !this.#kept.has(digest)) this.#kept.set(digest, opened);
    return opened;
  }

  /** A reader is done. */
  async release(digest: Digest, blob: OpenBlob): Promise<void> {
    const shared = blob as SharedFile; // acquire makes no other
    shared.users -= 1;
    if (shared.users > 0) return;
    if (this.#kept.get(digest) !== shared) return await shared.file.close();
    if (this.#idleMs === 0) return await this.#close(digest, shared);
    this.#kept.delete(digest);
    this.#kept.set(digest, shared);
    shared.idle = setTimeout(() => this.#drop(digest, shared), this.#idleMs).unref();
    if (this.#kept.size > MOST_IDLE) this.#dropOldest();
  }

  /** The blob is gone. Who reads it reads on. */
  forget(digest: Digest): void {
    this.#removals += 1;
    const shared = this.#kept.get(digest);
    if (shared !== undefined) this.#drop(digest, shared);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#removals += 1;
    await Promise.all([...this.#kept].map(([digest, shared]) => this.#close(digest, shared)));
  }

  #dropOldest(): void {
    for (const [digest, shared] of this.#kept) {
      if (shared.users === 0) return this.#drop(digest, shared);
    }
  }

  #drop(digest: Digest, shared: SharedFile): void {
    // Nobody waits for it, and nothing was written.
    this.#close(digest, shared).catch(() => {});
  }

  async #close(digest: Digest, shared: SharedFile): Promise<void> {
    this.#kept.delete(digest);
    clearTimeout(shared.idle);
    if (shared.users === 0) await shared.file.close();
  }
}
