import type { CallOptions } from "./any.ts";
import type { ListOptions, UpdateOptions } from "./content.ts";
import type { Labels } from "./labels.ts";
import type { Mount } from "./mount.ts";

/** `active` is writable, `view` is a read-only look at a parent, `committed` can be a parent and never changes. */
export type SnapshotKind = "view" | "active" | "committed";

/** What is known of a snapshot. Times are milliseconds since 1970. */
export interface SnapshotInfo {
  readonly kind: SnapshotKind;
  /** Key of an active snapshot or view, name of a committed one. */
  readonly name: string;
  /** Name of the parent, empty for none. */
  readonly parent: string;
  readonly labels: Labels;
  readonly createdAt: number;
  readonly updatedAt: number;
}

/** Disk use of a snapshot itself, without its parents. */
export interface SnapshotUsage {
  readonly size: number;
  readonly inodes: number;
}

/** Options of calls that make a snapshot. */
export interface SnapshotOptions extends CallOptions {
  readonly labels?: Labels;
}

/** Options of {@link Snapshotter.commit}. */
export interface SnapshotCommitOptions extends SnapshotOptions {
  /** Rebase: the parent of the committed snapshot, where the active one was prepared without any. */
  readonly parent?: string;
}

/** Labels with a meaning to snapshotters; only these (and `containerd.io/snapshot/…`) reach a backend. */
export const SnapshotLabel = {
  /** Name of the committed snapshot that an extraction is for. */
  ref: "containerd.io/snapshot.ref",
  uidMapping: "containerd.io/snapshot/uidmapping",
  gidMapping: "containerd.io/snapshot/gidmapping",
  maxSize: "containerd.io/snapshot/max-size",
  diffId: "containerd.io/snapshot/diff-id",
  parentChainId: "containerd.io/snapshot/parent-chain-id",
  overlayUpperdir: "containerd.io/snapshot/overlay.upperdir",
} as const;

/**
 * Layers of file systems that share their common parts. Keys and names are opaque; both live in one space.
 *
 * @see containerd core/snapshots/snapshotter.go, Snapshotter
 */
export interface Snapshotter extends AsyncDisposable {
  /** @throws not_found */
  stat(key: string, options?: CallOptions): Promise<SnapshotInfo>;
  /**
   * This changes labels and returns the new state.
   *
   * @throws not_found
   * @throws invalid_argument - a field path other than `labels` and `labels.<key>`
   */
  update(change: { readonly name: string; readonly labels: Labels }, options?: UpdateOptions): Promise<SnapshotInfo>;
  /** This measures an active snapshot or view, and tells what was stored at the commit of a committed one. @throws not_found */
  usage(key: string, options?: CallOptions): Promise<SnapshotUsage>;
  /**
   * This returns how to mount an active snapshot or a view; nothing is mounted.
   *
   * @throws not_found
   * @throws failed_precondition - the snapshot is committed
   */
  mounts(key: string, options?: CallOptions): Promise<readonly Mount[]>;
  /**
   * This makes a writable snapshot on `parent` (empty for none) and returns its mounts.
   *
   * @throws already_exists - the key is taken
   * @throws not_found - no such parent
   * @throws invalid_argument - the parent is not committed
   */
  prepare(key: string, parent: string, options?: SnapshotOptions): Promise<readonly Mount[]>;
  /** This makes a read-only snapshot; errors as {@link Snapshotter.prepare}. */
  view(key: string, parent: string, options?: SnapshotOptions): Promise<readonly Mount[]>;
  /**
   * This turns the active snapshot `key` into the committed `name` and frees the key. When it resolves, a crash does not lose it.
   *
   * @throws not_found
   * @throws already_exists - the name is taken
   * @throws failed_precondition - `key` is not active
   * @throws invalid_argument - another parent than the snapshot has, or no support for rebase
   */
  commit(name: string, key: string, options?: SnapshotCommitOptions): Promise<void>;
  /**
   * This does ahead, for an active snapshot, what a commit takes its time for: it measures it and puts it on disk, several together where
   * commits have to follow one another. Nothing may be written to it from the call to the commit. Absent where it would not help.
   *
   * @throws not_found
   */
  settle?(key: string, options?: CallOptions): Promise<void>;
  /** @throws not_found, failed_precondition - it has children */
  remove(key: string, options?: CallOptions): Promise<void>;
  /** This lists snapshots; filter fields are `kind`, `name`, `parent`, `labels.*`. Calls of this snapshotter may be made while it runs. */
  list(options?: ListOptions): AsyncIterable<SnapshotInfo>;
  /** This removes what earlier removals left on disk. Absent where there is nothing to do. @throws unimplemented */
  cleanup?(options?: CallOptions): Promise<void>;
  /** This lists the names of snapshots whose files are gone from the disk. Absent where that cannot be told. */
  listMissing?(options?: CallOptions): AsyncIterable<string>;
}
