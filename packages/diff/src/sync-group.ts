import { constants } from "node:fs";
import { open, stat } from "node:fs/promises";

import { wrapError } from "@berth/errors";
import { syncfs } from "@berth/linux/files";

interface Device {
  running: Promise<void>;
  /** The sync that will begin when `running` has ended; all who come meanwhile share it. */
  next: Promise<void> | undefined;
}

/**
 * Syncs file systems, once for all who wait. A caller's sync begins after the call, so that whatever was written before it
 * is covered: it never rides on one that had begun.
 */
export class SyncGroup {
  readonly #devices = new Map<number, Device>();
  readonly #sync: (path: string) => Promise<void>;

  /** @param sync syncs the file system that holds a path */
  constructor(sync: (path: string) => Promise<void> = syncFileSystem) {
    this.#sync = sync;
  }

  /** Resolves when all that was written to the file system of `path` before the call has reached the disk. */
  async sync(path: string): Promise<void> {
    const { dev } = await stat(path);
    const device = this.#devices.get(dev);
    if (device === undefined) return this.#start(dev, path);
    device.next ??= device.running.catch(() => {}).then(() => this.#start(dev, path));
    return device.next;
  }

  #start(dev: number, path: string): Promise<void> {
    const device: Device = { running: this.#sync(path), next: undefined };
    this.#devices.set(dev, device);
    const ended = (): void => {
      // Whoever comes from now on finds either nobody or the one that follows.
      if (device.next === undefined) this.#devices.delete(dev);
    };
    device.running.then(ended, ended);
    return device.running;
  }
}

async function syncFileSystem(path: string): Promise<void> {
  try {
    await using directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
    await syncfs(directory.fd);
  } catch (error) {
    throw wrapError(error, `sync the file system of ${path}`);
  }
}
