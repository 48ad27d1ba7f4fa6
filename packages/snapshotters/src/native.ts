import { chmod } from "node:fs/promises";

import type { CallOptions } from "@berth/core/any";
import type { Mount } from "@berth/core/mount";
import type { Snapshotter } from "@berth/core/snapshots";

import {
  type DirectoryDriver,
  type DirectoryRequest,
  type DirectorySnapshotterOptions,
  openDirectorySnapshotter,
} from "./directory-snapshotter.ts";
import type { SnapshotDirectories } from "./snapshot-directories.ts";
import type { SnapshotRecord } from "./store/snapshot-record.ts";
import type { TreeWorkers } from "./tree-workers.ts";

/** Options of {@link openNativeSnapshotter}. */
export type NativeSnapshotterOptions = Omit<DirectorySnapshotterOptions, "syncRemove">;

/**
 * This opens the native snapshotter: each snapshot is a full copy of its parent (sharing blocks where the file system can),
 * on any file system, at the price of time and space. Removed snapshots go from disk at once.
 *
 * @see containerd plugins/snapshots/native
 */
export function openNativeSnapshotter(options: NativeSnapshotterOptions): Promise<Snapshotter> {
  return openDirectorySnapshotter(
    { ...options, syncRemove: true },
    (directories, trees) => new NativeDriver(directories, trees),
  );
}

class NativeDriver implements DirectoryDriver {
  readonly rebase = false;
  readonly #directories: SnapshotDirectories;
  readonly #trees: TreeWorkers;

  constructor(directories: SnapshotDirectories, trees: TreeWorkers) {
    this.#directories = directories;
    this.#trees = trees;
  }

  filler({ kind, parent }: DirectoryRequest): ((path: string, options: CallOptions) => Promise<void>) | undefined {
    // A view shows its parent, which never changes.
    if (kind === "view" && parent !== undefined) return undefined;
    return async (path, options) => {
      await chmod(path, 0o755);
      if (parent !== undefined) await this.#trees.copy(this.contentPath(parent.id), path, options);
    };
  }

  contentPath(id: number): string {
    return this.#directories.of(id);
  }

  mounts(record: SnapshotRecord, [parent]: readonly SnapshotRecord[]): readonly Mount[] {
    const { id } = record.kind === "view" && parent !== undefined ? parent : record;
    const mode = record.kind === "view" ? "ro" : "rw";
    return [{ type: "bind", source: this.contentPath(id), target: "", options: ["rbind", mode] }];
  }
}
