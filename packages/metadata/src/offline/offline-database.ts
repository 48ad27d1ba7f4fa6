import { stat } from "node:fs/promises";

import type { DatabaseHeader } from "@berth/api/berth/metadata/v1/database";
import { checkSchemaVersion, Database } from "@berth/database";
import { dataLoss, messageOf, wrapError } from "@berth/errors";

import { MAP_SIZE_BYTES, newHeader, putHeader, readHeader } from "../database/database-header.ts";
import { allMigrations, latestVersion } from "../database/migrations.ts";
import { RecordIndex } from "../database/record-index.ts";
import { allTables } from "../database/tables.ts";
import type { Changes, Transaction } from "../database/transaction.ts";
import { decodeRecord, RecordTransaction } from "../database/transaction.ts";

const ALL_RECORDS = { start: Uint8Array.of(1), end: Uint8Array.of(0xff, 0xff) };

/** An entry of the database that is no record. */
export interface DamagedEntry {
  readonly key: Uint8Array;
  /** Name of the table that it stands in, where there is one. */
  readonly table: string | undefined;
  readonly reason: string;
}

/** A change of an {@link OfflineDatabase}. */
export interface OfflineTransaction extends Transaction {
  /** This removes an entry by its key, whatever it holds. */
  removeEntry(key: Uint8Array): void;
  /** From now on the collector removes also what a lost database left. */
  releaseUnknown(): void;
}

/** The metadata database of a daemon that does not run, with whatever of it can be read. */
export class OfflineDatabase implements AsyncDisposable {
  readonly path: string;
  readonly schemaVersion: number;
  /** When the database was made over what backends held then, milliseconds since 1970; 0 where they held nothing. */
  readonly madeOverBackendsAt: number;
  /** All records that can be read. */
  readonly index: RecordIndex;
  readonly damaged: readonly DamagedEntry[];
  readonly #database: Database;
  readonly #header: DatabaseHeader;

  /**
   * This opens a database that is there. The caller makes sure that no daemon has it.
   *
   * @throws not_found - there is none
   * @throws failed_precondition - it was written by a newer version
   * @throws data_loss - it is no database, or a damaged one
   */
  static async open(path: string): Promise<OfflineDatabase> {
    try {
      await stat(path);
    } catch (error) {
      throw wrapError(error, "open metadata database");
    }
    await using opened = new AsyncDisposableStack();
    const database = opened.use(await openDatabase(path));
    const offline = new OfflineDatabase(database);
    opened.move();
    return offline;
  }

  private constructor(database: Database) {
    this.#header = readHeader(database) ?? newHeader(0);
    const { schemaVersion, madeOverBackendsAt } = this.#header;
    checkSchemaVersion(database.path, schemaVersion, latestVersion(allMigrations));
    this.path = database.path;
    this.schemaVersion = schemaVersion;
    this.madeOverBackendsAt = Number(madeOverBackendsAt);
    this.#database = database;
    const { index, damaged } = readAll(database);
    this.index = index;
    this.damaged = damaged;
  }

  /** This changes the database; {@link OfflineDatabase.index} keeps what was read at the beginning. */
  async update(run: (tx: OfflineTransaction) => void): Promise<void> {
    const changes: Changes = { mutations: [], events: [], dirty: false };
    await this.#database.update((entries) => {
      const records = new RecordTransaction(entries, changes);
      const removeEntry = (key: Uint8Array) => entries.remove(key);
      const releaseUnknown = () => putHeader(entries, { ...this.#header, madeOverBackendsAt: 0n });
      run(Object.assign(records, { removeEntry, releaseUnknown }));
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#database[Symbol.asyncDispose]();
  }
}

async function openDatabase(path: string): Promise<Database> {
  try {
    // Who works offline hears of a failed commit by the call that made it.
    return await Database.open({ path, mapSizeBytes: MAP_SIZE_BYTES, fatal: () => {} });
  } catch (error) {
    throw dataLoss(`${path} cannot be opened: ${messageOf(error)}`, { cause: error });
  }
}

function readAll(database: Database): { readonly index: RecordIndex; readonly damaged: readonly DamagedEntry[] } {
  const index = new RecordIndex();
  const damaged: DamagedEntry[] = [];
  const tables = new Map(allTables.map((table) => [table.prefix, table]));
  for (const { key, value } of database.range(ALL_RECORDS)) {
    const table = tables.get(key[0] ?? 0);
    try {
      if (table === undefined) throw dataLoss("no table has such keys");
      const { path, record } = decodeRecord(table, key, value);
      index.bucket(table, path.namespace, path.group).set(path.key, record);
    } catch (error) {
      // A copy: what a range yields is gone with the next step.
      damaged.push({ key: Uint8Array.from(key), table: table?.name, reason: messageOf(error) });
    }
  }
  return { index, damaged };
}
