import type { DatabaseHeader } from "@berth/api/berth/metadata/v1/database";
import type { CallOptions } from "@berth/core/any";
import type { EventPublisher } from "@berth/core/events";
import type { Logger } from "@berth/core/log";
import type { Sync } from "@berth/database";
import { checkSchemaVersion, Database } from "@berth/database";
import { dataLoss, messageOf } from "@berth/errors";

import type { DatabaseBeginning } from "./database-header.ts";
import { MAP_SIZE_BYTES, newHeader, putHeader, readHeader } from "./database-header.ts";
import type { Migration } from "./migrations.ts";
import { allMigrations, latestVersion } from "./migrations.ts";
import { RecordIndex } from "./record-index.ts";
import { recordRange } from "./record-key.ts";
import type { Table } from "./table.ts";
import { allTables } from "./tables.ts";
import type { Changes, DecodedRecord, Mutation, PendingEvent, Transaction } from "./transaction.ts";
import { decodeRecord, RecordTransaction } from "./transaction.ts";

const noWatchers: ReadonlySet<UpdateWatcher> = new Set();
/** Numbers taken from the database at a time; those left over at a stop are never used. */
const SEQUENCE_BATCH = 1024n;

/** Options of {@link MetadataDatabase.open}. */
export interface DatabaseOptions {
  readonly path: string;
  readonly events: EventPublisher;
  readonly log: Logger;
  /** Commits are answered before they are on disk. */
  readonly noSync: boolean;
  /** Called once when the database cannot be trusted any more; the daemon must stop. */
  readonly fatal: (error: Error) => void;
  /** Steps from older layouts; all there are by default. */
  readonly migrations?: readonly Migration[];
  /** Tells what a database begins with that holds nothing yet. */
  readonly begin?: () => Promise<DatabaseBeginning | undefined>;
}

/** Options of {@link MetadataDatabase.update}. */
export interface UpdateOptions extends CallOptions {
  /** Watchers are not told: for the collector's own removals. */
  readonly unwatched?: boolean;
}

/** Is told of each update, see {@link MetadataDatabase.watch}. */
export interface UpdateWatcher {
  /** Called inside of each update, after its callback: what it changes and whether that may
   * make garbage, even if the commit should fail later. */
  executed?(mutations: readonly Mutation[], dirty: boolean): void;
  /** Called after each commit, when the index has it: what it changed and whether it may have made garbage. */
  committed?(mutations: readonly Mutation[], dirty: boolean): void;
}

/**
 * The database file and its picture in memory. Updates run one after the other, in the order of their calls; those that
 * wait at the same time share one commit, off the main thread. What an update wrote is in the index, and its events have been
 * handed over, when its promise resolves: in that order, and in the order of the updates.
 */
export class MetadataDatabase implements AsyncDisposable {
  readonly index = new RecordIndex();
  /** Sequence numbers from this one on were given out since the database was opened. */
  readonly firstSequence: bigint;
  /** When the database was made over what backends held then, milliseconds since 1970; 0 where they held nothing. */
  readonly madeOverBackendsAt: number;
  readonly #database: Database;
  readonly #options: DatabaseOptions;
  readonly #header: DatabaseHeader;
  readonly #watchers = new Set<UpdateWatcher>();
  /** Updates between their callback and the end of their commit. */
  readonly #executed = new Set<Changes>();
  #nextSequence: bigint;
  #sequenceLimit: bigint;
  #extending: Promise<void> | undefined;

  /**
   * This opens or makes the database, brings it to the layout of this version, and reads it.
   *
   * @throws failed_precondition - it was written by a newer version
   * @throws data_loss - a record cannot be read
   */
  static async open(options: DatabaseOptions): Promise<MetadataDatabase> {
    await using opened = new AsyncDisposableStack();
    const database = opened.use(await Database.open({ ...options, mapSizeBytes: MAP_SIZE_BYTES }));
    const header = await migrate(database, options);
    const metadata = new MetadataDatabase(database, options, header);
    metadata.#load();
    opened.move();
    return metadata;
  }

  private constructor(database: Database, options: DatabaseOptions, header: DatabaseHeader) {
    const sequence = header.sequenceLimit === 0n ? 1n : header.sequenceLimit;
    this.#database = database;
    this.#options = options;
    this.#header = header;
    this.madeOverBackendsAt = Number(header.madeOverBackendsAt);
    this.firstSequence = sequence;
    this.#nextSequence = sequence;
    this.#sequenceLimit = sequence;
  }

  /**
   * This runs `run` in a write transaction and commits it. When `run` throws, nothing of it is kept and the error is passed on.
   *
   * @throws resource_exhausted - the disk is full; nothing of it is kept
   * @throws unavailable - the database failed before, or is closed
   */
  async update<T>(run: (tx: Transaction) => T & Sync<T>, options: UpdateOptions = {}): Promise<T> {
    options.signal?.throwIfAborted();
    const watchers = options.unwatched === true ? noWatchers : this.#watchers;
    const changes: Changes = { mutations: [], events: [], dirty: false };
    let value: T;
    try {
      value = await this.#database.update<T>((entries) => {
        const result = run(new RecordTransaction(entries, changes));
        this.#executed.add(changes);
        for (const watcher of watchers) watcher.executed?.(changes.mutations, changes.dirty);
        return result;
      });
      // Commits resolve in the order of their transactions, so that the last write of a record stays.
      this.#apply(changes);
    } finally {
      this.#executed.delete(changes);
    }
    for (const watcher of watchers) watcher.committed?.(changes.mutations, changes.dirty);
    await this.#publish(changes.events);
    return value;
  }

  /** This returns a number that was never given out before, in this process or an earlier one. */
  async nextSequence(): Promise<bigint> {
    while (this.#nextSequence >= this.#sequenceLimit) {
      this.#extending ??= this.#extendSequence().finally(() => (this.#extending = undefined));
      await this.#extending;
    }
    return this.#nextSequence++;
  }

  /**
   * This tells `watcher` of each update from now on, and at once of those whose commits are still under way: what it has not
   * been told of shows in the index. Until the result is disposed.
   */
  watch(watcher: UpdateWatcher): Disposable {
    for (const { mutations, dirty } of this.#executed) watcher.executed?.(mutations, dirty);
    this.#watchers.add(watcher);
    return { [Symbol.dispose]: () => void this.#watchers.delete(watcher) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#database[Symbol.asyncDispose]();
  }

  #apply({ mutations }: Changes): void {
    for (const mutation of mutations) {
      const { namespace, group, key } = mutation.path;
      const bucket = this.index.bucket(mutation.table, namespace, group);
      if ("record" in mutation) bucket.set(key, mutation.record);
      else bucket.delete(key);
    }
  }

  async #publish(events: readonly PendingEvent[]): Promise<void> {
    const published = events.map(({ namespace, topic, event }) =>
      this.#options.events.publish(namespace, topic, event),
    );
    for (const result of await Promise.allSettled(published)) {
      // The change is made and on disk: who asked for it must not hear otherwise.
      if (result.status === "rejected") this.#options.log.warn("failed to publish event", { error: result.reason });
    }
  }

  #load(): void {
    for (const table of allTables) {
      for (const { key, value } of this.#database.range(recordRange(table.prefix))) {
        const { path, record } = this.#decode(table, key, value);
        this.index.bucket(table, path.namespace, path.group).set(path.key, record);
      }
    }
  }

  #decode(table: Table<unknown>, key: Uint8Array, value: Uint8Array): DecodedRecord<unknown> {
    try {
      return decodeRecord(table, key, value);
    } catch (error) {
      const { path } = this.#options;
      throw dataLoss(
        `${path} holds a damaged record of ${table.name} (${messageOf(error)}): berthd db repair removes it`,
        { cause: error },
      );
    }
  }

  async #extendSequence(): Promise<void> {
    const sequenceLimit = this.#sequenceLimit + SEQUENCE_BATCH;
    await this.#database.update((entries) => putHeader(entries, { ...this.#header, sequenceLimit }));
    this.#sequenceLimit = sequenceLimit;
  }
}

/** This brings a database to the latest layout, all steps at once or none, and returns its header. */
async function migrate(database: Database, options: DatabaseOptions): Promise<DatabaseHeader> {
  const { path, log, migrations = allMigrations, begin } = options;
  const found = readHeader(database);
  const latest = latestVersion(migrations);
  checkSchemaVersion(path, found?.schemaVersion ?? 0, latest);
  if (found?.schemaVersion === latest) return found;
  const header = found === undefined ? newHeader(latest, await begin?.()) : { ...found, schemaVersion: latest };
  // A new database has nothing to migrate.
  const steps = found === undefined ? [] : migrations.filter(({ version }) => version > found.schemaVersion);
  await database.update((entries) => {
    for (const { version, title, run } of steps) {
      log.info("migrating database", { path, version, title });
      run(entries);
    }
    putHeader(entries, header);
  });
  return header;
}
