import type { ContentStore } from "@berth/core/content";
import type { Snapshotter } from "@berth/core/snapshots";
import { Code, codeOf, messageOf } from "@berth/errors";

import type { VerifyOptions } from "./check-backends.ts";
import { checkContent } from "./check-backends.ts";
import { checkRecords } from "./check-records.ts";
import { checkSnapshotters } from "./check-snapshots.ts";
import type { Finding } from "./finding.ts";
import { OfflineDatabase } from "./offline-database.ts";
import { replaceDatabase } from "./replace-database.ts";
import type { RestoreOptions } from "./restore-images.ts";
import { findLostImages } from "./restore-images.ts";
import { findKept } from "./unknown-object.ts";

/** Where things are; no daemon may be using any of them. */
export interface OfflineStorage {
  /** Path of the database. */
  readonly path: string;
  readonly content: ContentStore;
  readonly snapshotters: ReadonlyMap<string, Snapshotter>;
}

/** Options of {@link checkStorage} and {@link repairStorage}. */
export interface CheckOptions extends VerifyOptions, RestoreOptions {
  /** Whether the collector is to have what a lost database left and no namespace knows; not in a repair that begins the database or fails. */
  readonly releaseUnknown?: boolean;
}

/** Repairs can bring up others: a snapshot that is gone changes the count of its parent. */
const MAX_ROUNDS = 10;

/**
 * This finds what is wrong with the metadata of a stopped daemon, and between it and the backends; nothing is changed.
 *
 * @throws failed_precondition - the database was written by a newer version
 */
export async function* checkStorage(storage: OfflineStorage, options: CheckOptions): AsyncIterable<Finding> {
  const opened = await openOrFind(storage);
  if (!(opened instanceof OfflineDatabase)) {
    yield opened;
    return;
  }
  await using database = opened;
  yield* findAll(database, storage, options);
  if (options.releaseUnknown === true) yield* findKept(database);
}

/** Where there is no database, a daemon would begin with an empty one, without an image. */
const UNUSABLE: ReadonlyMap<Code, string> = new Map([
  [Code.DataLoss, "unreadable-database"],
  [Code.NotFound, "missing-database"],
]);

/** A repair and what became of it. */
export interface RepairResult {
  readonly finding: Finding;
  /** Absent when it was done. */
  readonly failure?: string;
}

/**
 * This does what can be done about the findings, again and again until nothing is left to do, and yields each repair after it
 * has been made. A repair that fails does not keep the others from being tried.
 *
 * @throws not_found, failed_precondition, data_loss - the database cannot be opened
 */
export async function* repairStorage(storage: OfflineStorage, options: CheckOptions): AsyncIterable<RepairResult> {
  const failed = new Set<string>();
  let mayRelease = options.releaseUnknown === true;
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const opened = await openOrFind(storage);
    if (!(opened instanceof OfflineDatabase)) {
      // What a database begun now keeps, nobody has looked at yet.
      mayRelease = false;
      await opened.repair?.prepare?.();
      yield { finding: opened };
      continue;
    }
    await using database = opened;
    const broken = (await Array.fromAsync(findAll(database, storage, options))).filter(
      (finding) => finding.repair !== undefined && !failed.has(identityOf(finding)),
    );
    // Images that were brought back hold what they need; one that could not be would lose it.
    const isWhole = broken.length === 0 && failed.size === 0;
    const wanted = isWhole && mayRelease ? [...findKept(database)] : broken;
    if (wanted.length === 0) return;
    for (const finding of wanted) {
      const failure = await applyRepair(database, finding);
      if (failure !== undefined) failed.add(identityOf(finding));
      yield { finding, ...(failure === undefined ? {} : { failure }) };
    }
  }
}

/** This opens the database, or says what keeps it from being opened. */
async function openOrFind(storage: OfflineStorage): Promise<OfflineDatabase | Finding> {
  const { path } = storage;
  try {
    return await OfflineDatabase.open(path);
  } catch (error) {
    const kind = UNUSABLE.get(codeOf(error));
    if (kind === undefined) throw error;
    return {
      severity: "error",
      kind,
      subject: `database ${path}`,
      detail: messageOf(error),
      repair: {
        action: "begin a new one (what is there is put aside); images are brought back from the content store",
        prepare: () => replaceDatabase(path, storage),
      },
    };
  }
}

async function* findAll(
  database: OfflineDatabase,
  { content, snapshotters }: OfflineStorage,
  options: CheckOptions,
): AsyncIterable<Finding> {
  yield* checkRecords(database);
  yield* checkContent(database, content, options);
  yield* checkSnapshotters(database, snapshotters, options);
  yield* findLostImages(database.index, content, options);
}

async function applyRepair(database: OfflineDatabase, { repair }: Finding): Promise<string | undefined> {
  try {
    await repair?.prepare?.();
    if (repair?.change !== undefined) await database.update(repair.change);
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

function identityOf({ kind, namespace = "", subject }: Finding): string {
  return JSON.stringify([kind, namespace, subject]);
}
