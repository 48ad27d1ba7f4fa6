import { KeyedLock } from "@berth/core/keyed-lock";
import type { Snapshotter } from "@berth/core/snapshots";

/** A snapshotter without namespaces, and what is under way in it. */
export class BackendSnapshotter {
  readonly name: string;
  readonly snapshotter: Snapshotter;
  /** Backend keys between the call that makes them and their record: the collector leaves them alone. */
  readonly inFlight = new Set<string>();
  /** Backend keys that the collector is removing. */
  readonly removing = new Set<string>();
  /** Backend keys that this process made under a number which an earlier one gave out: the collector knows them as ours by this. */
  readonly renumbered = new Set<string>();
  /** Held by namespace and key while a snapshot is committed or changed. */
  readonly locks = new KeyedLock();

  constructor(name: string, snapshotter: Snapshotter) {
    this.name = name;
    this.snapshotter = snapshotter;
  }
}
