import type { CallOptions } from "@berth/core/any";
import type { Logger } from "@berth/core/log";
import { raceSignal } from "@berth/core/race-signal";
import { parseDigest } from "@berth/oci";

import type { MetadataDatabase } from "../database/metadata-database.ts";
import type { Bucket } from "../database/record-index.ts";
import type { Table } from "../database/table.ts";
import { blobs, containers, images, ingests, leases, sandboxes, snapshots } from "../database/tables.ts";
import type { BackendContent } from "../stores/backend-content.ts";
import type { BackendSnapshotter } from "../stores/backend-snapshotter.ts";
import { cleanContent } from "./clean-content.ts";
import { cleanSnapshotter } from "./clean-snapshotter.ts";
import { Collectibles } from "./collectibles.ts";
import type { CollectorRegistry } from "./collector-registry.ts";
import type { Node } from "./marker.ts";
import { Marker } from "./marker.ts";
import type { ReferenceRules } from "./references.ts";
import { referenceRules } from "./references.ts";
import { inSlices, nextTurn } from "./slices.ts";
import { findUnmarked, orderForRemoval, sweepItems, sweepRecords } from "./sweep.ts";

/** What one collection did. */
export interface GcStats {
  /** Time from the begin to the commit of the sweep, without the work in backends. */
  readonly metadataMs: number;
  readonly totalMs: number;
  /** Records that were referred to. */
  readonly marked: number;
  /** Records removed, by the name of their table, and things of collectors, by their kind. */
  readonly removed: ReadonlyMap<string, number>;
  /** Blobs, ingests and snapshots removed from backends. */
  readonly removedFromBackends: number;
}

/** What a {@link Collector} works on. */
export interface CollectorOptions {
  readonly database: MetadataDatabase;
  readonly content: BackendContent;
  readonly snapshotters: ReadonlyMap<string, BackendSnapshotter>;
  readonly collectors: CollectorRegistry;
  /** When this process began: what is in a backend without a record and is younger is not ours to remove. */
  readonly startedAt: number;
  readonly log: Logger;
}

const ROOT_TABLES = [leases, images, containers, sandboxes, ingests, blobs, snapshots];

/**
 * Collects garbage: marks from the index while others write, sweeps in short transactions, then cleans the backends that
 * lost something. The first collection cleans all of them, of what an earlier process left.
 */
export class Collector {
  readonly #options: CollectorOptions;
  readonly #dirtySnapshotters: Set<string>;
  #contentDirty = true;
  #running: Promise<unknown> = Promise.resolve();
  #next: Promise<GcStats> | undefined;

  constructor(options: CollectorOptions) {
    this.#options = options;
    this.#dirtySnapshotters = new Set(options.snapshotters.keys());
    options.database.watch({
      // Not before the index has it: a cleaning beside it would find the record, and pass over what it left.
      committed: (mutations, dirty) => {
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
    const { collectors, log } = this.#options;
    const collectibles = await Collectibles.begin(collectors.list(), log);
    const swept = new Map<string, number>();
    try {
      const marked = await this.#markAndRemove(collectibles, ({ bucket, key }) => {
        swept.set(bucket.table.name, (swept.get(bucket.table.name) ?? 0) + 1);
        this.#noteRemoval(bucket.table, bucket.group, key);
      });
      // Before the backends are cleaned: a mount keeps what it shows.
      await collectibles.finish();
      return { marked, swept };
    } catch (error) {
      await collectibles.cancel();
      throw error;
    }
  }

  async #markAndRemove(collectibles: Collectibles, removed: (node: Node) => void): Promise<number> {
    const { database, content, log } = this.#options;
    const { index } = database;
    const rules = referenceRules({
      index,
      collectibles,
      isIngestOpen: (namespace, ref) => content.isRefLocked(namespace, ref),
      now: Date.now(),
      log,
    });
    const marker = new Marker(
      {
        bucket: (table, namespace, group) => index.bucket(table, namespace, group),
        findBucket: (table, namespace, group) =>
          index.findBucket(table, namespace, group) ?? collectibles.findBucket(table, namespace, group),
      },
      rules,
    );
    using _watch = database.watch({ executed: (mutations) => mutations.forEach((each) => marker.markWritten(each)) });
    const buckets = [...ROOT_TABLES.flatMap((table) => index.buckets<unknown>(table)), ...collectibles.buckets()];
    await markRoots(buckets, marker, rules);
    await marker.drain();
    const unmarked = await findUnmarked(index, marker);
    await sweepRecords(database, marker, await orderForRemoval(unmarked, marker), removed);
    await sweepItems(database, marker, collectibles, removed);
    return marker.count;
  }

  async #cleanBackends(): Promise<number> {
    const { database, content, snapshotters, startedAt, log } = this.#options;
    const { firstSequence, madeOverBackendsAt } = database;
    const policy = { firstSequence, startedAt, madeOverBackendsAt };
    const tasks: Promise<number>[] = [];
    for (const name of this.#dirtySnapshotters) {
      this.#dirtySnapshotters.delete(name);
      const backend = snapshotters.get(name);
      if (backend === undefined) continue;
      const failed = () => void this.#dirtySnapshotters.add(name);
      tasks.push(this.#clean(() => cleanSnapshotter(database.index, backend, policy, log), failed));
    }
    // Blobs that were passed over are looked at again: what kept them may have ended without a record.
    if (this.#contentDirty || content.forsaken.size > 0) {
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

/** This marks what lives of itself, and notes what lives as long as something else. */
async function markRoots(buckets: readonly Bucket<unknown>[], marker: Marker, rules: ReferenceRules): Promise<void> {
  const records = recordsOf(buckets);
  await inSlices(() => {
    const { done, value } = records.next();
    if (done === true) return false;
    const { bucket, key, record } = value;
    if (rules.isRoot(bucket, record)) marker.mark({ bucket, key, flat: false });
    else for (const target of rules.backReferences(bucket, record)) marker.addBackReference(target, { bucket, key });
    return true;
  });
}

function* recordsOf(buckets: readonly Bucket<unknown>[]): Generator<Node & { readonly record: unknown }, undefined> {
  for (const bucket of buckets) for (const [key, record] of bucket.entries()) yield { bucket, key, record };
}
