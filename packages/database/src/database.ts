import { constants } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { open as openFile } from "node:fs/promises";

import type { Logger } from "@berth/core/log";
import { silentLogger } from "@berth/core/log";
import { unavailable } from "@berth/errors";
import type { RootDatabase } from "lmdb";
import { open } from "lmdb";

import { checkDatabaseFile } from "./check-file.ts";
import { commitFailure } from "./commit-failure.ts";
import { ReservedSpace } from "./reserved-space.ts";
import type { Entry, KeyRange, ReadTransaction, WriteTransaction } from "./write-transaction.ts";
import { LmdbTransaction } from "./write-transaction.ts";

/** Options of {@link Database.open}. */
export interface DatabaseOptions {
  /** Path of the file, made (mode 0600) when missing; its directory must exist. LMDB's lock file has `-lock` after the name. */
  readonly path: string;
  /** The most that the file can grow to: address space, not memory. */
  readonly mapSizeBytes: number;
  /** Commits are answered before they are on disk; false by default. */
  readonly noSync?: boolean;
  readonly log?: Logger;
  /**
   * Called once when the file cannot be trusted any more, after a failed fsync: the process must end, the next start
   * recovers. Every update fails from then on.
   */
  readonly fatal: (error: Error) => void;
}

/** Rejects promises: an `async` callback would run on after its transaction. */
export type Sync<T> = T extends PromiseLike<unknown> ? never : T;

/** An update between its callback and the end of its commit. */
interface Executed {
  state: "waiting" | "committed" | "failed";
  readonly reached: PromiseWithResolvers<void>;
}

/**
 * One LMDB file of bytes by bytes. Updates run one after the other, in the order of their calls; those that wait at the same
 * time share one commit, off the main thread. One process may use a file at a time: nothing here keeps a second one away.
 *
 * The methods of reading see what is committed.
 */
export class Database implements ReadTransaction, AsyncDisposable {
  readonly path: string;
  readonly #lmdb: RootDatabase<Uint8Array, Uint8Array>;
  readonly #file: FileHandle;
  readonly #reserved: ReservedSpace;
  readonly #log: Logger;
  readonly #fatal: (error: Error) => void;
  readonly #running = new Set<Promise<unknown>>();
  readonly #executed: Executed[] = [];
  readonly #resources: AsyncDisposableStack;
  #broken: Error | undefined;
  #closed = false;

  /**
   * This opens a file, or makes it, and reserves space for changes on a full disk.
   *
   * @throws data_loss - the file is no database, or was cut off
   */
  static async open(options: DatabaseOptions): Promise<Database> {
    await using opened = new AsyncDisposableStack();
    // Open before the first write and until after the last: this descriptor hears of every write-back that fails.
    const file = opened.use(await openFile(options.path, constants.O_RDWR | constants.O_CREAT, 0o600));
    await checkDatabaseFile(file, options.path);
    const lmdb = openEnvironment(options);
    opened.defer(() => lmdb.close());
    const reserved = new ReservedSpace(file.fd, options.log ?? silentLogger);
    reserved.renew();
    return new Database({ options, file, lmdb, reserved, resources: opened.move() });
  }

  private constructor(parts: {
    readonly options: DatabaseOptions;
    readonly file: FileHandle;
    readonly lmdb: RootDatabase<Uint8Array, Uint8Array>;
    readonly reserved: ReservedSpace;
    readonly resources: AsyncDisposableStack;
  }) {
    const { options, file, lmdb, reserved, resources } = parts;
    this.path = options.path;
    this.#log = options.log ?? silentLogger;
    this.#fatal = options.fatal;
    this.#file = file;
    this.#lmdb = lmdb;
    this.#reserved = reserved;
    this.#resources = resources;
  }

  get(key: Uint8Array): Uint8Array | undefined {
    return this.#lmdb.get(key);
  }

  has(key: Uint8Array): boolean {
    return this.#lmdb.doesExist(key);
  }

  range(range: KeyRange): Iterable<Entry> {
    return this.#lmdb.getRange(range);
  }

  /**
   * This runs `run` in a write transaction and commits it. When `run` throws, nothing of it is kept and the error is passed on.
   * The promises of updates that are committed resolve in the order in which their callbacks ran.
   *
   * @throws resource_exhausted - the disk is full; nothing of it is kept
   * @throws data_loss - it could not be written; nothing of it is kept
   * @throws unavailable - the file cannot be trusted since an earlier commit, or the database is closed
   */
  async update<T>(run: (tx: WriteTransaction) => T & Sync<T>): Promise<T> {
    if (this.#closed) throw unavailable(`database ${this.path} is closed`);
    if (this.#broken !== undefined) throw unavailable(this.#broken.message, { cause: this.#broken });
    const update = this.#commit<T>(run);
    this.#running.add(update);
    try {
      return await update;
    } finally {
      this.#running.delete(update);
    }
  }

  /** This waits for the updates that are under way. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await Promise.allSettled(this.#running);
    await this.#resources.disposeAsync();
  }

  async #commit<T>(run: (tx: WriteTransaction) => T): Promise<T> {
    let executed: Executed | undefined;
    try {
      const { value } = await this.#lmdb.childTransaction(() => {
        const result = { value: this.#run<T>(run) };
        executed = this.#enqueue();
        return result;
      });
      if (executed !== undefined) await this.#settle(executed, "committed");
      this.#reserved.renew();
      return value;
    } catch (error) {
      if (executed?.state === "waiting") void this.#settle(executed, "failed");
      throw await this.#explain(error);
    }
  }

  #run<T>(run: (tx: WriteTransaction) => T): T {
    const tx = new LmdbTransaction(this.#lmdb);
    try {
      return run(tx);
    } finally {
      tx.close();
    }
  }

  #enqueue(): Executed {
    const executed: Executed = { state: "waiting", reached: Promise.withResolvers() };
    this.#executed.push(executed);
    return executed;
  }

  /** LMDB may answer in another order than that of the transactions. */
  #settle(executed: Executed, state: "committed" | "failed"): Promise<void> {
    executed.state = state;
    for (let head = this.#executed[0]; head !== undefined && head.state !== "waiting"; head = this.#executed[0]) {
      this.#executed.shift();
      head.reached.resolve();
    }
    return executed.reached.promise;
  }

  async #explain(error: unknown): Promise<unknown> {
    const failure = await commitFailure(error, { path: this.path, witness: this.#file });
    if (failure === undefined) return error;
    if (!failure.fatal && !this.#isGivenUp()) return failure.error;
    // Also after a full disk, where that struck at the wrong place.
    const cause = failure.fatal ? failure.error : unavailable(failure.error.message, { cause: failure.error });
    if (this.#broken === undefined) {
      this.#broken = cause;
      this.#log.error("database failed, it takes no more updates", { path: this.path, error: cause });
      this.#fatal(cause);
    }
    return cause;
  }

  /** LMDB gives up a file whose first pages it could not write: it then answers no update any more, and refuses new reads. */
  #isGivenUp(): boolean {
    try {
      this.#lmdb.useReadTransaction().done();
      return false;
    } catch {
      return true;
    }
  }
}

function openEnvironment({
  path,
  mapSizeBytes,
  noSync = false,
}: DatabaseOptions): RootDatabase<Uint8Array, Uint8Array> {
  return open<Uint8Array, Uint8Array>({
    path,
    noSubdir: true,
    encoding: "binary",
    keyEncoding: "binary",
    mapSize: mapSizeBytes,
    // A commit is answered when it is on disk.
    overlappingSync: false,
    // On, lmdb makes a promise of its own per turn that nobody can handle: a full disk would end the process.
    eventTurnBatching: false,
    noSync,
  });
}
