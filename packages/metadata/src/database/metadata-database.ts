import type { FileHandle } from "node:fs/promises";
import { open as openFile } from "node:fs/promises";

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { DatabaseHeaderSchema } from "@berth/api/berth/metadata/v1/database";
import type { CallOptions } from "@berth/core/any";
import type { EventPublisher } from "@berth/core/events";
import type { Logger } from "@berth/core/log";
import { failedPrecondition, unavailable, wrapError } from "@berth/errors";
import type { RootDatabase } from "lmdb";
import { open } from "lmdb";

import { commitFailure } from "./commit-failure.ts";
import { RecordIndex } from "./record-index.ts";
import { recordRange } from "./record-key.ts";
import { allTables } from "./tables.ts";
import type { Mutation, PendingEvent, Transaction } from "./transaction.ts";
import { decodeRecord, LmdbTransaction } from "./transaction.ts";

const SCHEMA_VERSION = 1;
const HEADER_KEY = Uint8Array.of(0);
/** Numbers taken from the database at a time; those left over at a stop are never used. */
const SEQUENCE_BATCH = 1024n;
/** Address space, not memory: the file grows as needed. */
const MAP_SIZE_BYTES = 64 * 1024 ** 3;

/** Options of {@link MetadataDatabase.open}. */
export interface DatabaseOptions {
  readonly path: string;
  readonly events: EventPublisher;
  readonly log: Logger;
  /** Commits are answered before they are on disk. */
  readonly noSync: boolean;
  /** Called once when the database cannot be trusted any more; the daemon must stop. */
  readonly fatal: (error: Error) => void;
}

/** Is told of each update, see {@link MetadataDatabase.watch}. */
export interface UpdateWatcher {
  /** Called inside of each update, after its callback: what it changes and whether that may
   * make garbage, even if the commit should fail later. */
  executed?(mutations: readonly Mutation[], dirty: boolean): void;
  /** Called after each commit, with whether it may have made garbage. */
  committed?(dirty: boolean): void;
}

/** Rejects promises: an `async` callback would run on after its transaction. */
export type Sync<T> = T extends PromiseLike<unknown> ? never : T;

interface Executed {
  readonly mutations: readonly Mutation[];
  readonly events: readonly PendingEvent[];
  readonly dirty: boolean;
  state: "executed" | "committed" | "failed";
  readonly applied: PromiseWithResolvers<void>;
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
  readonly #lmdb: RootDatabase<Uint8Array, Uint8Array>;
  readonly #witness: FileHandle;
  readonly #resources = new AsyncDisposableStack();
  readonly #options: DatabaseOptions;
  readonly #watchers = new Set<UpdateWatcher>();
  readonly #executed: Executed[] = [];
  #nextSequence: bigint;
  #sequenceLimit: bigint;
  #extending: Promise<void> | undefined;
  #broken: Error | undefined;
  #closed = false;

  /** This opens or makes the database and reads it. @throws failed_precondition - it was written by a newer version */
  static async open(options: DatabaseOptions): Promise<MetadataDatabase> {
    const lmdb = open<Uint8Array, Uint8Array>({
      path: options.path,
      noSubdir: true,
      encoding: "binary",
      keyEncoding: "binary",
      mapSize: MAP_SIZE_BYTES,
      // A commit is answered when it is on disk.
      overlappingSync: false,
      // On, lmdb makes a promise of its own per turn that nobody can handle: a full disk would end the process.
      eventTurnBatching: false,
      noSync: options.noSync,
    });
    await using opened = new AsyncDisposableStack();
    opened.defer(() => lmdb.close());
    const witness = opened.use(await openFile(options.path, "r"));
    const header = lmdb.get(HEADER_KEY);
    const { schemaVersion, sequenceLimit } = fromBinary(DatabaseHeaderSchema, header ?? new Uint8Array(0));
    if (schemaVersion > SCHEMA_VERSION) {
      throw failedPrecondition(
        `${options.path} has schema version ${schemaVersion}, this berth knows ${SCHEMA_VERSION}: use a newer one`,
      );
    }
    const database = new MetadataDatabase(lmdb, witness, options, sequenceLimit === 0n ? 1n : sequenceLimit);
    database.#load();
    if (header === undefined) await database.#writeHeader();
    database.#resources.use(opened.move());
    return database;
  }

  private constructor(
    lmdb: RootDatabase<Uint8Array, Uint8Array>,
    witness: FileHandle,
    options: DatabaseOptions,
    sequence: bigint,
  ) {
    this.#lmdb = lmdb;
    this.#witness = witness;
    this.#options = options;
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
  async update<T>(run: (tx: Transaction) => T & Sync<T>, options: CallOptions = {}): Promise<T> {
    options.signal?.throwIfAborted();
    let executed: Executed | undefined;
    try {
      const result = await this.#commit(() => {
        const tx = new LmdbTransaction(this.#lmdb);
        const value: T = run(tx);
        tx.close();
        executed = this.#enqueue(tx);
        return { value };
      });
      if (executed !== undefined) await this.#settle(executed, "committed");
      return result.value;
    } catch (error) {
      if (executed?.state === "executed") this.#settle(executed, "failed");
      throw error;
    }
  }

  /** This returns a number that was never given out before, in this process or an earlier one. */
  async nextSequence(): Promise<bigint> {
    while (this.#nextSequence >= this.#sequenceLimit) {
      this.#extending ??= this.#extendSequence().finally(() => (this.#extending = undefined));
      await this.#extending;
    }
    return this.#nextSequence++;
  }

  /** This tells `watcher` of each update from now on, until the result is disposed. */
  watch(watcher: UpdateWatcher): Disposable {
    this.#watchers.add(watcher);
    return { [Symbol.dispose]: () => void this.#watchers.delete(watcher) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    // Closing waits for the commits that are under way.
    await this.#resources.disposeAsync();
  }

  async #commit<T>(run: () => T): Promise<T> {
    if (this.#closed) throw unavailable("metadata database is closed");
    if (this.#broken !== undefined) throw wrapError(unavailable(this.#broken.message), "metadata database failed");
    try {
      return await this.#lmdb.childTransaction(run);
    } catch (error) {
      const failure = await commitFailure(error, { path: this.#options.path, witness: this.#witness });
      if (failure === undefined) throw error;
      if (failure.fatal) this.#fail(failure.error);
      throw failure.error;
    }
  }

  #fail(error: Error): void {
    if (this.#broken !== undefined) return;
    this.#broken = error;
    this.#options.log.error("metadata database failed", { path: this.#options.path, error });
    this.#options.fatal(error);
  }

  #enqueue(tx: LmdbTransaction): Executed {
    const { mutations, events, dirty } = tx;
    const executed: Executed = { mutations, events, dirty, state: "executed", applied: Promise.withResolvers() };
    this.#executed.push(executed);
    for (const watcher of this.#watchers) watcher.executed?.(mutations, dirty);
    return executed;
  }

  /** The index follows the order of the updates even where their promises resolve in another. */
  #settle(executed: Executed, state: "committed" | "failed"): Promise<void> {
    executed.state = state;
    for (let head = this.#executed[0]; head !== undefined && head.state !== "executed"; head = this.#executed[0]) {
      this.#executed.shift();
      if (head.state === "committed") this.#apply(head);
    }
    return executed.applied.promise;
  }

  #apply({ mutations, events, dirty, applied }: Executed): void {
    for (const mutation of mutations) {
      const { namespace, group, key } = mutation.path;
      const bucket = this.index.bucket(mutation.table, namespace, group);
      if ("record" in mutation) bucket.set(key, mutation.record);
      else bucket.delete(key);
    }
    for (const watcher of this.#watchers) watcher.committed?.(dirty);
    applied.resolve(this.#publish(events));
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
      for (const { key, value } of this.#lmdb.getRange(recordRange(table.prefix))) {
        const { path, record } = decodeRecord(table, key, value);
        this.index.bucket(table, path.namespace, path.group).set(path.key, record);
      }
    }
  }

  async #extendSequence(): Promise<void> {
    const limit = this.#sequenceLimit + SEQUENCE_BATCH;
    await this.#writeHeader(limit);
    this.#sequenceLimit = limit;
  }

  async #writeHeader(sequenceLimit = this.#sequenceLimit): Promise<void> {
    const header = create(DatabaseHeaderSchema, { schemaVersion: SCHEMA_VERSION, sequenceLimit });
    await this.#commit(() => {
      this.#lmdb.put(HEADER_KEY, toBinary(DatabaseHeaderSchema, header));
    });
  }
}
