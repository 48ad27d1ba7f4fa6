import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { SnapshotStoreHeaderSchema } from "@berth/api/berth/metadata/v1/snapshot";
import { type Logger, silentLogger } from "@berth/core/log";
import { checkSchemaVersion, Database, type Sync, type WriteTransaction } from "@berth/database";

import { HEADER_KEY, SNAPSHOT_RANGE, snapshotKey } from "./snapshot-key.ts";
import { decodeSnapshot, encodeSnapshot, type SnapshotRecord } from "./snapshot-record.ts";

const SCHEMA_VERSION = 1;
/** Address space, not memory: the file grows as needed. */
const MAP_SIZE_BYTES = 4 * 1024 ** 3;

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

/** What an update wrote, by key; undefined for what it removed. */
type Written = Map<string, SnapshotRecord | undefined>;

/**
 * Records of snapshots in one LMDB file, with a picture of them in memory. Updates run one after the other in the order of
 * their calls; those that wait share one commit off the main thread. The picture has an update when its promise resolves.
 */
export class SnapshotDatabase implements AsyncDisposable {
  /** All committed records by key. */
  readonly records: ReadonlyMap<string, SnapshotRecord>;
  readonly #records: Map<string, SnapshotRecord>;
  readonly #database: Database;
  #lastId: number;

  private constructor(database: Database) {
    const header = fromBinary(SnapshotStoreHeaderSchema, database.get(HEADER_KEY) ?? new Uint8Array(0));
    checkSchemaVersion(database.path, header.schemaVersion, SCHEMA_VERSION);
    this.#database = database;
    this.#lastId = Number(header.lastId);
    this.#records = new Map(
      Array.from(database.range(SNAPSHOT_RANGE), ({ value }) => decodeSnapshot(value)).map((record) => [
        record.name,
        record,
      ]),
    );
    this.records = this.#records;
  }

  /** This opens or makes a database and reads it. @throws failed_precondition - it was written by a newer version */
  static async open(options: SnapshotDatabaseOptions): Promise<SnapshotDatabase> {
    const { path, log = silentLogger, fatal = () => {} } = options;
    await using opened = new AsyncDisposableStack();
    const database = new SnapshotDatabase(
      opened.use(await Database.open({ path, log, fatal, mapSizeBytes: MAP_SIZE_BYTES })),
    );
    opened.move();
    return database;
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
    const written: Written = new Map();
    const value = await this.#database.update<T>((entries) => this.#run<T & Sync<T>>(entries, written, run));
    this.#apply(written);
    return value;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#database[Symbol.asyncDispose]();
  }

  #run<T>(entries: WriteTransaction, written: Written, run: (tx: SnapshotTransaction) => T): T {
    let highest = this.#lastId;
    const value = run({
      find: (key) => {
        const bytes = entries.get(snapshotKey(key));
        return bytes === undefined ? undefined : decodeSnapshot(bytes);
      },
      put: (record) => {
        written.set(record.name, record);
        highest = Math.max(highest, record.id);
        entries.put(snapshotKey(record.name), encodeSnapshot(record));
      },
      remove: (key) => {
        written.set(key, undefined);
        entries.remove(snapshotKey(key));
      },
    });
    if (highest > this.#lastId) {
      const header = create(SnapshotStoreHeaderSchema, { schemaVersion: SCHEMA_VERSION, lastId: BigInt(highest) });
      entries.put(HEADER_KEY, toBinary(SnapshotStoreHeaderSchema, header));
      // Kept when the commit fails: an id too many is lost, which nobody minds.
      this.#lastId = highest;
    }
    return value;
  }

  /** Commits resolve in the order of their transactions, so that the last write of a record stays. */
  #apply(written: Written): void {
    for (const [key, record] of written) {
      if (record === undefined) this.#records.delete(key);
      else this.#records.set(key, record);
    }
  }
}
