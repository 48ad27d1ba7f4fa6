import type { FileHandle } from "node:fs/promises";

/** Bytes after which those written so far begin to go to the disk. */
const DEFAULT_EVERY_BYTES = 32 << 20;

/**
 * Puts the bytes of a file on disk while more arrive, so that the sync at the end need not wait for all of them. One sync runs at a
 * time, beside the writes.
 */
export class EarlySync {
  readonly #file: FileHandle;
  readonly #everyBytes: number;
  #unsyncedBytes = 0;
  #running: Promise<void> | undefined;
  #failure: unknown;

  constructor(file: FileHandle, everyBytes: number = DEFAULT_EVERY_BYTES) {
    this.#file = file;
    this.#everyBytes = everyBytes;
  }

  /**
   * What the first sync that failed threw. It stays for good: the kernel tells a descriptor once that pages were lost, and a later
   * sync succeeds without them.
   */
  get failure(): unknown {
    return this.#failure;
  }

  /** This notes that so many bytes were written, and begins a sync when they have become many. */
  wrote(bytes: number): void {
    this.#unsyncedBytes += bytes;
    if (this.#unsyncedBytes < this.#everyBytes || this.#running !== undefined) return;
    this.#unsyncedBytes = 0;
    this.#running = this.#sync();
  }

  /** This waits for the sync under way; nothing may be closed before. @throws what a sync threw, now or before */
  async settle(): Promise<void> {
    await this.#running;
    if (this.#failure !== undefined) throw this.#failure;
  }

  async #sync(): Promise<void> {
    try {
      await this.#file.datasync();
    } catch (error) {
      this.#failure ??= error;
    } finally {
      this.#running = undefined;
    }
  }
}
