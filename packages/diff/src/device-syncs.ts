import { constants } from "node:fs";
import { type FileHandle, open, readFile } from "node:fs/promises";

import { wrapError } from "@berth/errors";
import { SyncGroup, syncfs } from "@berth/linux/files";

/** Opened before the first write: it is told of every write that the disk fails from then on. Disposed after the last one. */
export interface WatchedDevice extends AsyncDisposable {
  /**
   * Resolves when all that was written before the call has reached the disk.
   *
   * @throws what the disk failed since this was opened, whichever sync was told of it
   */
  sync(): Promise<void>;
  /** This says what is known without waiting. @throws as {@link sync} */
  check(): void;
}

/** Options of {@link DeviceSyncs.watch}. */
export interface WatchOptions {
  /** The path is in a mount that is taken away afterwards: disposing waits for the sync that runs, which would keep it busy. */
  readonly isTemporary?: boolean;
}

/**
 * Syncs file systems, once for all who wait for the same one. Linux tells a failed write-back once to each descriptor that was open then,
 * and to none that is opened after somebody was told. So there is one descriptor as long as anybody watches, and what it is told, all are who watch.
 * It is one for each mount, not for each device: a descriptor keeps its mount busy.
 */
export class DeviceSyncs {
  readonly #devices = new Map<string, Device>();
  readonly #sync: (descriptor: number) => Promise<void>;

  /** @param sync syncs the file system of a descriptor */
  constructor(sync: (descriptor: number) => Promise<void> = syncfs) {
    this.#sync = sync;
  }

  /** This begins to watch the file system of a directory. */
  async watch(path: string, { isTemporary = false }: WatchOptions = {}): Promise<WatchedDevice> {
    try {
      await using opened = new AsyncDisposableStack();
      const file = opened.use(await open(path, constants.O_RDONLY | constants.O_DIRECTORY));
      const mount = await mountOf(file);
      const known = this.#devices.get(mount);
      if (known !== undefined) return known.watch(isTemporary);
      const device = new Device(file, this.#sync, () => this.#devices.delete(mount));
      this.#devices.set(mount, device);
      opened.move();
      return device.watch(isTemporary);
    } catch (error) {
      throw wrapError(error, `watch the file system of ${path}`);
    }
  }
}

interface Watcher {
  failure: { readonly error: unknown } | undefined;
}

/** One mount that somebody watches, or whose last sync has not ended. */
class Device {
  readonly #file: FileHandle;
  readonly #group: SyncGroup;
  readonly #onClose: () => void;
  readonly #watchers = new Set<Watcher>();
  #isOpen = true;

  constructor(file: FileHandle, sync: (descriptor: number) => Promise<void>, onClose: () => void) {
    this.#file = file;
    this.#onClose = onClose;
    this.#group = new SyncGroup(async () => {
      try {
        await sync(file.fd);
      } catch (cause) {
        const error = wrapError(cause, "sync file system");
        for (const watcher of this.#watchers) watcher.failure ??= { error };
        throw error;
      }
    });
  }

  watch(isTemporary: boolean): WatchedDevice {
    const watcher: Watcher = { failure: undefined };
    this.#watchers.add(watcher);
    const check = (): void => {
      if (watcher.failure !== undefined) throw watcher.failure.error;
    };
    return {
      check,
      sync: async () => {
        await this.#group.wait();
        // An earlier sync may have been told, for which nobody waited.
        check();
      },
      [Symbol.asyncDispose]: async () => {
        this.#watchers.delete(watcher);
        const closing = this.#closeUnwatched();
        if (isTemporary || this.#group.idle) await closing;
      },
    };
  }

  async #closeUnwatched(): Promise<void> {
    if (this.#watchers.size > 0) return;
    await this.#group.quiet();
    if (this.#watchers.size > 0 || !this.#isOpen) return;
    this.#isOpen = false;
    this.#onClose();
    // Nothing was written through it.
    await this.#file.close().catch(() => {});
  }
}

async function mountOf(file: FileHandle): Promise<string> {
  const facts = await readFile(`/proc/self/fdinfo/${file.fd}`, "utf8");
  return /^mnt_id:\s*(\d+)$/m.exec(facts)?.[1] ?? String((await file.stat()).dev);
}
