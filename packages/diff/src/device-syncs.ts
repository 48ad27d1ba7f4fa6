import { constants } from "node:fs";
import { open, stat } from "node:fs/promises";

import { wrapError } from "@berth/errors";
import { SyncGroup, syncfs } from "@berth/linux/files";

/** Syncs file systems by a path in them, once for all who wait for the same one. */
export class DeviceSyncs {
  readonly #groups = new Map<number, SyncGroup>();
  readonly #sync: (path: string) => Promise<void>;

  /** @param sync syncs the file system that holds a path */
  constructor(sync: (path: string) => Promise<void> = syncFileSystem) {
    this.#sync = sync;
  }

  /** Resolves when all that was written to the file system of `path` before the call has reached the disk. */
  async sync(path: string): Promise<void> {
    const { dev } = await stat(path);
    const group = this.#groups.get(dev) ?? new SyncGroup(() => this.#sync(path));
    this.#groups.set(dev, group);
    try {
      await group.wait();
    } finally {
      if (group.idle) this.#groups.delete(dev);
    }
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
