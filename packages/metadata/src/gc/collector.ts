import type { CallOptions } from "@berth/core/any";
import type { Logger } from "@berth/core/log";
import { parseDigest } from "@berth/oci";

import type { MetadataDatabase } from "../database/metadata-database.ts";
import type { Bucket } from "../database/record-index.ts";
import type { Table } from "../database/table.ts";
import { blobs, containers, images, ingests, leases, snapshots } from "../database/tables.ts";
import type { BackendContent } from "../stores/backend-content.ts";
import type { BackendSnapshotter } from "../stores/backend-snapshotter.ts";
import { cleanContent } from "./clean-content.ts";
import { cleanSnapshotter } from "./clean-snapshotter.ts";
import { inSlices, Marker, nextTurn } from "./marker.ts";
import type { ReferenceRules } from "./references.ts";
import { referenceRules } from "./references.ts";
import { findUnmarked, sweep } from "./sweep.ts";

/** What one collection did. */
export interface GcStats {
  /** Time from the begin to the commit of the sweep, without the work in backends. */
  readonly metadataMs: number;
  readonly totalMs: number;
  /** Records that were referred to. */
  readonly marked: number;
  /** Records removed, by the name of their table. */
  readonly removed: ReadonlyMap<string, number>;
  /** Blobs, ingests and snapshots removed from backends. */
  readonly removedFromBackends: number;
}

/** What a {@link Collector} works on. */
export interface CollectorOptions {
  readonly database: MetadataDatabase;
  readonly content: BackendContent;
  readonly snapshotters: ReadonlyMap<string, BackendSnapshotter>;
  /** When this process began: what is in a backend without a record and is younger is not ours to remove. */
  readonly startedAt: number;
  readonly log: Logger;
}

const ROOT_TABLES = [leases, images, containers, ingests, blobs, snapshots];

/**
 * Collects garbage: marks from the index while others write, sweeps in one transaction, then cleans the backends that
 * lost something. The first collection cleans all of them, of what an earlier process left.
 */
export class Collector {
  readonly #options: CollectorOptions;
  readonly #rules: ReferenceRules;
  readonly #dirtySnapshotters: Set<string>;
  #contentDirty = true;
  #running: Promise<unknown> = Promise.resolve();
  #next: Promise<GcStats> | undefined;

  constructor(options: CollectorOptions) {
    this.#options = options;
    this.#rules = referenceRules(options.database.index, (namespace, ref) =>
      options.content.isRefLocked(namespace, ref),
    );
    this.#dirtySnapshotters = new Set(options.snapshotters.keys());
    options.database.watch({
      executed: (mutations, dirty) => {
        // A commit of a blob or a snapshot removes a record too, but leaves nothing behind: its update is not dirty.
        const removals = dirty ? mutations.filter(({ record }) => record === undefined) : [];
        for (const { table, path } of removals) this.#noteRemoval(table, path.group, path.key);
      },
    });
  }

  /** This collects once, beginning after the call; calls that wait for the same beginning share one run. */
  async collect({ signal }: CallOptions = {}): Promise<GcStats> {
    signal?.throwIfAborted();
    if (this.#next === undefined) {
      const next = this.#running.then(() => {
        this.#next = undefined;
        return this.#run();
      });
      this.#next = next;
      this.#running = next.catch(() => {});
    }
    return raceSignal(this.#next, signal);
  }

  /** This waits for the run under way. */
  async idle(): Promise<void> {
    await this.#running;
  }

  async #run(): Promise<GcStats> {
    // Even where there is nothing to do: who collects in a loop must not keep others from their turn.
    await nextTurn();
    const begin = performance.now();
    const { marked, swept } = await this.#markAndSweep();
    const metadataMs = performance.now() - begin;
    const removedFromBackends = await this.#cleanBackends();
    const totalMs = performance.now() - begin;
    return { metadataMs, totalMs, marked, removed: swept, removedFromBackends };
  }

  async #markAndSweep(): Promise<{ marked: number; swept: ReadonlyMap<string, number> }> {
    const { database } = this.#options;
    const marker = new Marker(database.index, this.#rules);
    using _watch = database.watch({ executed: (mutations) => mutations.forEach((each) => marker.markWritten(each)) });
    await this.#markRoots(marker);
    await marker.drain();
    const candidates = await findUnmarked(database.index, marker);
    if (candidates.length === 0) {
      return { marked: marker.count, swept: new Map() };
    }
    const removed = await database.update((tx) => sweep(tx, marker, candidates));
    const swept = new Map<string, number>();
    for (const { bucket, key } of removed) {
      swept.set(bucket.table.name, (swept.get(bucket.table.name) ?? 0) + 1);
      this.#noteRemoval(bucket.table, bucket.group, key);
    }
    return { marked: marker.count, swept };
  }

  async #markRoots(marker: Marker): Promise<void> {
    const { index } = this.#options.database;
    const now = Date.now();
    const records = ROOT_TABLES.flatMap((table) => index.buckets<unknown>(table))
      .values()
      .flatMap(bucketRecords);
    await inSlices(() => {
      const { done, value } = records.next();
      if (done === true) return false;
      if (this.#rules.isRoot(value.bucket, value.record, now)) marker.mark(value.bucket, value.key, false);
      return true;
    });
  }

  async #cleanBackends(): Promise<number> {
    const { database, content, snapshotters, startedAt, log } = this.#options;
    const policy = { firstSequence: database.firstSequence, startedAt };
    const tasks: Promise<number>[] = [];
    for (const name of this.#dirtySnapshotters) {
      this.#dirtySnapshotters.delete(name);
      const backend = snapshotters.get(name);
      if (backend === undefined) continue;
      const failed = () => void this.#dirtySnapshotters.add(name);
      tasks.push(this.#clean(() => cleanSnapshotter(database.index, backend, policy, log), failed));
    }
    if (this.#contentDirty) {
      this.#contentDirty = false;
      const failed = () => void (this.#contentDirty = true);
      tasks.push(this.#clean(() => cleanContent(database.index, content, policy, log), failed));
    }
    return (await Promise.all(tasks)).reduce((sum, count) => sum + count, 0);
  }

  /** A backend that fails is tried again at the next run; the others and the records are not kept waiting. */
  async #clean(run: () => Promise<number>, failed: () => void): Promise<number> {
    try {
      return await run();
    } catch (error) {
      failed();
      this.#options.log.error("failed to clean backend", { error });
      return 0;
    }
  }

  #noteRemoval({ prefix }: Table<unknown>, group: string, key: string): void {
    if (prefix === snapshots.prefix) this.#dirtySnapshotters.add(group);
    if (prefix === ingests.prefix || prefix === blobs.prefix) this.#contentDirty = true;
    if (prefix === blobs.prefix) this.#options.content.forsaken.add(parseDigest(key));
  }
}

function* bucketRecords(bucket: Bucket<unknown>): Generator<{ bucket: Bucket<unknown>; key: string; record: unknown }> {
  for (const [key, record] of bucket.entries()) yield { bucket, key, record };
}

/** The run goes on when one of those who wait for it goes away. */
async function raceSignal<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const abort = (): void => reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
