import { stat } from "node:fs/promises";

import type { CallOptions } from "@berth/core/any";
import type { ContentStore } from "@berth/core/content";
import type { Snapshotter } from "@berth/core/snapshots";

import { allTables, blobs } from "../database/tables.ts";
import type { OfflineDatabase } from "./offline-database.ts";

/** Sizes and counts of a store. */
export interface StorageStats {
  readonly database: {
    readonly path: string;
    readonly schemaVersion: number;
    readonly sizeBytes: number;
    /** What it takes on disk, with what is reserved behind it. */
    readonly allocatedBytes: number;
    readonly damagedRecords: number;
  };
  /** Records by namespace, then by table. */
  readonly records: Readonly<Record<string, Readonly<Record<string, number>>>>;
  /** Bytes of blobs that each namespace knows, shared ones in each. */
  readonly contentBytes: Readonly<Record<string, number>>;
  readonly content: { readonly blobs: number; readonly bytes: number; readonly ingests: number };
  readonly snapshotters: Readonly<Record<string, { readonly snapshots: number }>>;
}

const BLOCK_BYTES = 512;

/** This counts. */
export async function storageStats(
  database: OfflineDatabase,
  backends: { readonly content: ContentStore; readonly snapshotters: ReadonlyMap<string, Snapshotter> },
  options: CallOptions = {},
): Promise<StorageStats> {
  const { size, blocks } = await stat(database.path);
  return {
    database: {
      path: database.path,
      schemaVersion: database.schemaVersion,
      sizeBytes: size,
      allocatedBytes: blocks * BLOCK_BYTES,
      damagedRecords: database.damaged.length,
    },
    records: countRecords(database),
    contentBytes: countBytes(database),
    content: await contentStats(backends.content, options),
    snapshotters: await snapshotterStats(backends.snapshotters, options),
  };
}

function countRecords({ index }: OfflineDatabase): Record<string, Record<string, number>> {
  const counts: Record<string, Record<string, number>> = {};
  for (const table of allTables) {
    for (const { namespace, size } of index.buckets(table)) {
      const tables = (counts[namespace] ??= {});
      if (size > 0) tables[table.name] = (tables[table.name] ?? 0) + size;
    }
  }
  return counts;
}

function countBytes({ index }: OfflineDatabase): Record<string, number> {
  const bytes: Record<string, number> = {};
  for (const bucket of index.buckets(blobs)) {
    bytes[bucket.namespace] = bucket.entries().reduce((sum, [, { size }]) => sum + size, 0);
  }
  return bytes;
}

async function contentStats(content: ContentStore, options: CallOptions): Promise<StorageStats["content"]> {
  let count = 0;
  let bytes = 0;
  for await (const { size } of content.list(options)) {
    count++;
    bytes += size;
  }
  const ingests = (await Array.fromAsync(content.listStatuses(options))).length;
  return { blobs: count, bytes, ingests };
}

async function snapshotterStats(
  snapshotters: ReadonlyMap<string, Snapshotter>,
  options: CallOptions,
): Promise<StorageStats["snapshotters"]> {
  const stats: Record<string, { snapshots: number }> = {};
  for (const [name, snapshotter] of snapshotters) {
    stats[name] = { snapshots: (await Array.fromAsync(snapshotter.list(options))).length };
  }
  return stats;
}
