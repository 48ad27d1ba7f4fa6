import { type FileHandle, open } from "node:fs/promises";

import { dataLoss, wrapError } from "@berth/errors";
import { SyncGroup, syncfs } from "@berth/linux/files";

/** Options of {@link DurableDirectory.open}. */
export interface DurableDirectoryOptions {
  /** Ids of the snapshots that are being written. */
  readonly active: () => Iterable<number>;
  /** Off, `sync` does nothing. */
  readonly enabled: boolean;
}

/**
 * Puts snapshots on disk, several at once: a `syncfs` is shared by all that wait for it.
 *
 * One descriptor is held all the time: the kernel reports a failed write-back to descriptors that were open when it happened,
 * and only once. Snapshots that were being written then stay untrusted.
 */
export class DurableDirectory implements AsyncDisposable {
  readonly #file: FileHandle;
  readonly #options: DurableDirectoryOptions;
  readonly #group: SyncGroup;
  readonly #untrusted = new Set<number>();

  private constructor(file: FileHandle, options: DurableDirectoryOptions) {
    this.#file = file;
    this.#options = options;
    this.#group = new SyncGroup(() => syncfs(file.fd));
  }

  /** This opens a directory on the file system of the snapshots. */
  static async open(path: string, options: DurableDirectoryOptions): Promise<DurableDirectory> {
    return new DurableDirectory(await open(path, "r"), options);
  }

  /**
   * This resolves when everything written to the snapshot `id` before the call is on disk.
   *
   * @throws data_loss - a sync failed while the snapshot was being written: bytes may be missing that a later sync does not miss
   */
  async sync(id: number): Promise<void> {
    if (!this.#options.enabled) return;
    this.checkTrusted(id);
    try {
      await this.#group.wait();
    } catch (error) {
      for (const active of this.#options.active()) this.#untrusted.add(active);
      throw wrapError(error, "sync file system");
    }
  }

  /** This says no more than `sync` would without waiting. @throws data_loss - as {@link sync} */
  checkTrusted(id: number): void {
    if (this.#untrusted.has(id)) throw dataLoss("a sync of the file system failed while this snapshot was written");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }
}
