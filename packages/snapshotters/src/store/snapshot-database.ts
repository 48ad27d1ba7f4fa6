import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { SnapshotStoreHeaderSchema } from "@berth/api/berth/metadata/v1/snapshot";
import { type Logger, silentLogger } from "@berth/core/log";
import { failedPrecondition, messageOf, resourceExhausted, unavailable } from "@berth/errors";
import { open, type RootDatabase } from "lmdb";

import { reserveSpace } from "./reserve-space.ts";
import { HEADER_KEY, SNAPSHOT_RANGE, snapshotKey } from "./snapshot-key.ts";
import { decodeSnapshot, encodeSnapshot, type SnapshotRecord } from "./snapshot-record.ts";

const SCHEMA_VERSION = 1;
/** Address space, not memory: the file grows as needed. */
const MAP_SIZE_BYTES = 4 * 1024 ** 3;

/** Rejects promises: an `async` callback would run on after its transaction. */
export type Sync<T> = T extends PromiseLike<unknown> ? never : T;

/** Reads and writes inside of one update; it sees what earlier updates wrote, committed or not yet. */
export interface SnapshotTransaction {
  find(key: string): SnapshotRecord | undefined;
  put(record: SnapshotRecord): void;
  remove(key: string): void;
}

/** Options of {@link SnapshotDatabase.open}. */
export interface SnapshotDatabaseOptions {
  /** Path of the database file; its lock file has `-lock` after the name. */
  readonly path: string;
  readonly log?: Logger;
  /** Called once when the database cannot be trusted any more: the program must stop, and its next start recovers. */
  readonly fatal?: ((error: Error) => void) | undefined;
}

/**
 * Records of snapshots in one LMDB file, with a picture of them in memory. Updates run one after the other in the order of
 * their calls; those that wait share one commit off the main thread. The picture has an update when its promise resolves.
 */
export class SnapshotDatabase implements AsyncDisposable {
  /** All committed records by key. */
  readonly records: ReadonlyMap<string, SnapshotRecord>;
  readonly #records: Map<string, SnapshotRecord>;
  readonly #lmdb: RootDatabase<Uint8Array, Uint8Array>;
  readonly #log: Logger;
  readonly #fatal: (error: Error) => void;
  #lastId: number;
  #broken: Error | undefined;
  #closed = false;

  private constructor(lmdb: RootDatabase<Uint8Array, Uint8Array>, options: SnapshotDatabaseOptions) {
    const header = fromBinary(SnapshotStoreHeaderSchema, lmdb.get(HEADER_KEY) ?? new Uint8Array(0));
    if (header.schemaVersion > SCHEMA_VERSION) {
      throw failedPrecondition(
        `${options.path} has schema version ${header.schemaVersion}, this berth knows ${SCHEMA_VERSION}: use a newer one`,
      );
    }
    this.#lmdb = lmdb;
    this.#log = options.log ?? silentLogger;
    this.#fatal = options.fatal ?? (() => {});
    this.#lastId = Number(header.lastId);
    this.#records = new Map(
      Array.from(lmdb.getRange(SNAPSHOT_RANGE), ({ value }) => decodeSnapshot(value)).map((record) => [
        record.name,
        record,
      ]),
    );
    this.records = this.#records;
  }

  /** This opens or makes a database and reads it. @throws failed_precondition - it was written by a newer version */
  static async open(options: SnapshotDatabaseOptions): Promise<SnapshotDatabase> {
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
    });
    try {
      await reserveSpace(options.path, options.log ?? silentLogger);
      return new SnapshotDatabase(lmdb, options);
    } catch (error) {
      await lmdb.close();
      throw error;
    }
  }

  /** The highest id that was ever put. */
  get lastId(): number {
    return this.#lastId;
  }

  /**
   * This runs `run` in a write transaction and commits it. When `run` throws, nothing of it is kept and the error is passed on.
   *
   * @throws resource_exhausted - the disk is full; nothing of it is kept
   * @throws unavailable - an earlier commit failed in a way after which the file cannot be trusted, or the database is closed
   */
  async update<T>(run: (tx: SnapshotTransaction) => T & Sync<T>): Promise<T> {
    if (this.#closed) throw unavailable("snapshot database is closed");
    if (this.#broken !== undefined) throw unavailable(this.#broken.message, { cause: this.#broken });
    const written = new Map<string, SnapshotRecord | undefined>();
    try {
      const result = await this.#lmdb.childTransaction(() => ({ value: this.#run(run, written) }));
      this.#apply(written);
      return result.value;
    } catch (error) {
      throw await this.#explain(error);
    }
  }

  #run<T>(run: (tx: SnapshotTransaction) => T, written: Map<string, SnapshotRecord | undefined>): T {
    let highest = this.#lastId;
    const value = run({
      find: (key) => {
        const bytes = this.#lmdb.get(snapshotKey(key));
        return bytes === undefined ? undefined : decodeSnapshot(bytes);
      },
      put: (record) => {
        written.set(record.name, record);
        highest = Math.max(highest, record.id);
        void this.#lmdb.put(snapshotKey(record.name), encodeSnapshot(record));
      },
      remove: (key) => {
        written.set(key, undefined);
        void this.#lmdb.remove(snapshotKey(key));
      },
    });
    if (highest > this.#lastId) {
      const header = create(SnapshotStoreHeaderSchema, { schemaVersion: SCHEMA_VERSION, lastId: BigInt(highest) });
      void this.#lmdb.put(HEADER_KEY, toBinary(SnapshotStoreHeaderSchema, header));
      // Kept when the commit fails: an id too many is lost, which nobody minds.
      this.#lastId = highest;
    }
    return value;
  }

  /** Commits resolve in the order of their transactions, so that the last write of a record stays. */
  #apply(written: ReadonlyMap<string, SnapshotRecord | undefined>): void {
    for (const [key, record] of written) {
      if (record === undefined) this.#records.delete(key);
      else this.#records.set(key, record);
    }
  }

  /** lmdb marks what the commit threw; everything else was thrown by the callback. */
  async #explain(error: unknown): Promise<unknown> {
    if (!(error instanceof Error) || !("commitError" in error)) return error;
    const cause: unknown = await Promise.resolve(error.commitError).catch((reason: unknown) => reason);
    const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
    const message = `write snapshot database: ${messageOf(cause)}`;
    if (code === ENOSPC || code === EDQUOT || code === MDB_MAP_FULL) return resourceExhausted(message, { cause });
    // What the kernel dropped after a failed fsync is not written by the next one.
    if (this.#broken === undefined) {
      this.#broken = new Error(message, { cause });
      this.#log.error("snapshot database failed, it takes no more updates", { error: message });
      this.#fatal(this.#broken);
    }
    return unavailable(message, { cause });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    // Waits for the commits that are under way.
    await this.#lmdb.close();
  }
}

const ENOSPC = 28;
const EDQUOT = 122;
const MDB_MAP_FULL = -30792;
