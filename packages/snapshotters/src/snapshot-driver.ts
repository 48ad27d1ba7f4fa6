import type { CallOptions } from "@berth/core/any";
import type { Labels } from "@berth/core/labels";
import type { Logger } from "@berth/core/log";
import type { Mount } from "@berth/core/mount";
import type { SnapshotInfo, SnapshotKind, SnapshotUsage } from "@berth/core/snapshots";

import type { SnapshotPlaces } from "./snapshot-places.ts";
import type { SnapshotRecord } from "./store/snapshot-record.ts";
import type { TreeWorkers } from "./tree-workers.ts";

/** What a driver is told of a snapshot that it is to make. */
export interface SnapshotRequest {
  readonly kind: Exclude<SnapshotKind, "committed">;
  readonly labels: Labels;
  readonly parent: SnapshotRecord | undefined;
}

/** Fills the place of a new snapshot. When it throws, the place is removed, with whatever is in it. */
export type SnapshotFiller = (path: string, options: CallOptions) => Promise<void>;

/** Options of {@link SnapshotDriver.usage}. */
export interface MeasureOptions extends CallOptions {
  readonly parent: SnapshotRecord | undefined;
}

/** What a driver did to an active snapshot so that it can be committed. Disposing takes it back. */
export interface SealedSnapshot extends AsyncDisposable {
  /**
   * This removes what only the active snapshot needed, now that the record says committed. A failure is logged; the driver does it
   * again when it is opened, or at the next cleanup.
   */
  finish(): Promise<void>;
}

/** The outcome of a seal that leaves nothing to be taken back. */
export const plainSeal: SealedSnapshot = {
  finish: () => Promise.resolve(),
  [Symbol.asyncDispose]: () => Promise.resolve(),
};

/** The part of a snapshotter that is not keys and parents: what a snapshot is on disk, and how it is mounted. */
export interface SnapshotDriver {
  /** Whether a snapshot may get its parent at its commit. */
  readonly rebase: boolean;
  /** Where snapshots of a kind lie; several kinds may lie at one place. */
  places(kind: SnapshotKind): SnapshotPlaces;
  /**
   * This says how to fill the place of a new snapshot; `undefined` when it needs none of its own.
   *
   * @throws invalid_argument, unimplemented - a label asks for what cannot be; nothing is made
   */
  filler(request: SnapshotRequest): SnapshotFiller | undefined;
  /** This measures an active snapshot. */
  usage(record: SnapshotRecord, options: MeasureOptions): Promise<SnapshotUsage>;
  /** @param ancestors - the parent first */
  mounts(record: SnapshotRecord, ancestors: readonly SnapshotRecord[]): Promise<readonly Mount[]> | readonly Mount[];
  /**
   * This gives an active snapshot the form that it has as a committed one; it can still be written afterwards, if the commit fails.
   * What it writes is put on disk before the record is. One call at a time for a snapshot. Absent where both forms are the same.
   */
  seal?(record: SnapshotRecord, options: MeasureOptions): Promise<SealedSnapshot>;
  /** Whether {@link seal} leaves an active snapshot as it is; absent: it does not. */
  isPlain?(record: SnapshotRecord): boolean;
  /** This measures what {@link seal} made; without it, the active snapshot is measured. */
  sealedUsage?(record: SnapshotRecord, options: MeasureOptions): Promise<SnapshotUsage>;
  /** This sets up again what a crash or a restart of the machine took away; called once, before anything else. */
  restore?(records: readonly SnapshotRecord[]): Promise<void>;
  /** What is told of a snapshot beside what is stored. */
  describe?(info: SnapshotInfo, record: SnapshotRecord): SnapshotInfo;
}

/** What a driver is made from. */
export interface DriverTools {
  readonly root: string;
  readonly trees: TreeWorkers;
  readonly log: Logger;
}
