import { mkdir, readdir, readFile, rmdir, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";

import type { CallOptions } from "@berth/core/any";
import type { ActiveMount, Mount, MountHandler } from "@berth/core/mount";
import { failedPrecondition, ignoreNotFound, messageOf, systemErrorCode, wrapError } from "@berth/errors";
import { mountAll, unmountRecursive } from "@berth/linux/mount";

import { noData } from "./active-mount.ts";

const TYPE_SUFFIX = "-type";

/** Where the mounts of one activation are, by what makes them. */
export interface DirectoryOptions {
  readonly path: string;
  readonly handlers: ReadonlyMap<string, MountHandler>;
}

/** Options of {@link ActivationDirectory.remove}. */
export interface RemoveOptions extends CallOptions {
  /** How long a mount that is in use is tried; 2.5 s if not given. */
  readonly patienceMs?: number;
}

/**
 * The mount points of one activation, `<n>`, each with its type in `<n>-type`; the last one made is 1, so that they are taken away
 * in the order of their numbers. What is here is enough to take all of it away, in another process too.
 */
export class ActivationDirectory {
  readonly path: string;
  readonly #handlers: ReadonlyMap<string, MountHandler>;

  constructor({ path, handlers }: DirectoryOptions) {
    this.path = path;
    this.#handlers = handlers;
  }

  /** This makes the directory, which must not exist. */
  async create(): Promise<void> {
    await mkdir(this.path, { mode: 0o700 });
  }

  /** This makes the mount that has `remaining` others after it, of `count` in all; `active` are those before it. */
  async mount(
    mount: Mount,
    handler: MountHandler | undefined,
    options: CallOptions & {
      readonly active: readonly ActiveMount[];
      readonly remaining: number;
      readonly count: number;
    },
  ): Promise<ActiveMount> {
    options.signal?.throwIfAborted();
    const digits = options.count > 100 ? 3 : options.count > 10 ? 2 : 1;
    const mountPoint = join(this.path, String(options.remaining + 1).padStart(digits, "0"));
    // First: what is mounted can only be taken away when its type is known.
    await writeFile(`${mountPoint}${TYPE_SUFFIX}`, mount.type, { mode: 0o600 });
    try {
      if (handler !== undefined) return await handler.mount(mount, mountPoint, options);
      await mkdir(mountPoint, { mode: 0o700 });
      await mountAll([mount], mountPoint);
      return { ...mount, mountPoint, mountedAt: Date.now(), data: noData };
    } catch (error) {
      const doing = `mount ${mount.type} ${mount.source}`;
      // Not of the kind that is about the activation itself.
      if (systemErrorCode(error) === "ENOENT")
        throw failedPrecondition(`${doing}: ${messageOf(error)}`, { cause: error });
      throw wrapError(error, doing);
    }
  }

  /**
   * This takes the mounts away, the last one first, and removes the directory; what is gone already is fine. A mount that is in use
   * is tried for a while, those after it are taken away all the same, and the directory stays.
   *
   * @throws EBUSY, … - as the first that could not be taken away says
   */
  async remove(options: RemoveOptions = {}): Promise<void> {
    const failures: unknown[] = [];
    for (const name of await this.#mountPoints()) {
      await this.#unmount(join(this.path, name), options).catch((error: unknown) => failures.push(error));
    }
    if (failures.length > 0) throw failures[0];
    await rmdir(this.path).catch(ignoreNotFound);
  }

  /** Names of the mount points, in the order in which they are taken away. */
  async #mountPoints(): Promise<string[]> {
    const entries = await readdir(this.path).catch(ignoreNotFound);
    const names = (entries ?? []).map((entry) => entry.replace(TYPE_SUFFIX, ""));
    return [...new Set(names)].filter((name) => /^\d+$/.test(name)).toSorted((a, b) => Number(a) - Number(b));
  }

  async #unmount(mountPoint: string, { patienceMs, signal: given }: RemoveOptions): Promise<void> {
    const signal = patienceMs === undefined ? given : AbortSignal.timeout(patienceMs);
    const type = await readFile(`${mountPoint}${TYPE_SUFFIX}`, "utf8").catch(ignoreNotFound);
    const limit = signal === undefined ? {} : { signal };
    await this.#handlers.get(type ?? "")?.unmount(mountPoint, limit);
    // Also after a handler, and for a type whose handler is not loaded any more.
    await unmountRecursive(mountPoint, limit);
    // Only ever an empty directory: nothing below a mount can be deleted by mistake.
    await rmdir(mountPoint).catch(ignoreNotFound);
    await unlink(`${mountPoint}${TYPE_SUFFIX}`).catch(ignoreNotFound);
  }
}
