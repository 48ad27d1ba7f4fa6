import { randomUUID } from "node:crypto";
import { mkdir, readdir, rename } from "node:fs/promises";
import { basename, join } from "node:path";

import type { CallOptions } from "@berth/core/any";
import { type Logger, silentLogger } from "@berth/core/log";
import { makeDirectories } from "@berth/core/make-directories";
import { messageOf } from "@berth/errors";

import type { TreeWorkers } from "./tree-workers.ts";

/** What lies at a place. */
export interface PlaceOperations {
  /** This makes it, empty, at a path; absent where what fills it makes it. */
  make?(path: string): Promise<void>;
  /** This removes it with all it holds; one that is not there is fine. */
  remove(path: string, options?: CallOptions): Promise<void>;
}

/** Options of {@link SnapshotPlaces.open}. */
export interface SnapshotPlacesOptions {
  /** The directory that holds one entry per snapshot, named by its id. */
  readonly path: string;
  readonly operations: PlaceOperations;
  readonly log?: Logger;
}

/** This says that a directory, mode 0700, lies at each place. */
export function directoryPlaces(trees: TreeWorkers): PlaceOperations {
  return {
    make: async (path) => {
      await mkdir(path, { mode: 0o700 });
    },
    remove: (path, options) => trees.remove(path, options),
  };
}

/**
 * The places of the snapshots of one driver: directories, files or what else the driver keeps. One is made under a temporary name
 * and renamed; those that the store does not know, because a crash or a removal left them, are removed by
 * {@link SnapshotPlaces.cleanup}.
 */
export class SnapshotPlaces {
  readonly #path: string;
  readonly #operations: PlaceOperations;
  readonly #log: Logger;
  /** Names that `cleanup` must leave alone: the store will know them in a moment. */
  readonly #unfinished = new Set<string>();

  private constructor(options: SnapshotPlacesOptions) {
    this.#path = options.path;
    this.#operations = options.operations;
    this.#log = options.log ?? silentLogger;
  }

  /** This makes the directory that holds them, mode 0700. */
  static async open(options: SnapshotPlacesOptions): Promise<SnapshotPlaces> {
    await makeDirectories(options.path, 0o700);
    return new SnapshotPlaces(options);
  }

  /** This is the place of a snapshot. */
  of(id: number): string {
    return join(this.#path, String(id));
  }

  /** This lists the ids that have a place. */
  async ids(): Promise<number[]> {
    return (await readdir(this.#path)).flatMap((name) => parseId(name) ?? []);
  }

  /**
   * This makes the place of `id` and fills it by `fill` before it gets its name. When it fails, nothing is left. Disposing the
   * result removes the place; {@link adopted} says that the store knows it.
   */
  async create(id: number, fill: (path: string) => Promise<void>): Promise<AsyncDisposable> {
    const path = this.of(id);
    const temporary = join(this.#path, `new-${randomUUID()}`);
    const names = [basename(path), basename(temporary)];
    for (const name of names) this.#unfinished.add(name);
    try {
      await this.#operations.make?.(temporary);
      await fill(temporary);
      await rename(temporary, path);
    } catch (error) {
      await this.#discard(temporary);
      this.#unfinished.delete(basename(path));
      throw error;
    } finally {
      this.#unfinished.delete(basename(temporary));
    }
    return {
      [Symbol.asyncDispose]: async () => {
        await this.#discard(path);
        this.adopted(id);
      },
    };
  }

  /** This says that from now on the store tells whether the place of `id` is wanted. */
  adopted(id: number): void {
    this.#unfinished.delete(String(id));
  }

  /** This removes the place of a snapshot; a failure is logged, and the next cleanup tries again. */
  async remove(id: number): Promise<void> {
    await this.#discard(this.of(id));
  }

  /** This removes every place whose id is not in `known`, which is asked after the places were listed. */
  async cleanup(known: () => ReadonlySet<number>, options: CallOptions = {}): Promise<void> {
    const names = await readdir(this.#path);
    const ids = known();
    const litter = names.filter((name) => !this.#unfinished.has(name) && !ids.has(parseId(name) ?? -1));
    for (const name of litter) {
      const path = join(this.#path, name);
      try {
        await this.#operations.remove(path, options);
      } catch (error) {
        options.signal?.throwIfAborted();
        this.#log.warn("failed to remove snapshot from disk", { path, error: messageOf(error) });
      }
    }
  }

  async #discard(path: string): Promise<void> {
    await this.#operations.remove(path).catch((error: unknown) => {
      this.#log.warn("failed to remove snapshot from disk", { path, error: messageOf(error) });
    });
  }
}

function parseId(name: string): number | undefined {
  return /^[1-9]\d{0,15}$/.test(name) ? Number(name) : undefined;
}
