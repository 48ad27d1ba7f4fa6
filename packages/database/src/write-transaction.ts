import { internal } from "@berth/errors";
import type { RootDatabase } from "lmdb";

/** A key and its value. */
export interface Entry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** Keys from `start` on that are smaller than `end`, in byte order. */
export interface KeyRange {
  readonly start: Uint8Array;
  readonly end: Uint8Array;
}

/** Reads of one state of a database. */
export interface ReadTransaction {
  get(key: Uint8Array): Uint8Array | undefined;
  has(key: Uint8Array): boolean;
  /** This yields the entries of a range in byte order; only valid until the next write. */
  range(range: KeyRange): Iterable<Entry>;
}

/** Reads and writes inside of one update. Reads see the writes of all updates before it, and its own. */
export interface WriteTransaction extends ReadTransaction {
  put(key: Uint8Array, value: Uint8Array): void;
  /** This removes an entry; none is fine. */
  remove(key: Uint8Array): void;
}

/** {@link WriteTransaction} over the write transaction that LMDB has open. */
export class LmdbTransaction implements WriteTransaction {
  readonly #lmdb: RootDatabase<Uint8Array, Uint8Array>;
  #open = true;

  constructor(lmdb: RootDatabase<Uint8Array, Uint8Array>) {
    this.#lmdb = lmdb;
  }

  get(key: Uint8Array): Uint8Array | undefined {
    return this.#database().get(key);
  }

  has(key: Uint8Array): boolean {
    return this.#database().doesExist(key);
  }

  range(range: KeyRange): Iterable<Entry> {
    return this.#database().getRange(range);
  }

  put(key: Uint8Array, value: Uint8Array): void {
    // The promise is that of the commit, which the update waits for.
    void this.#database().put(key, value);
  }

  remove(key: Uint8Array): void {
    void this.#database().remove(key);
  }

  /** After this every call fails: a transaction that was kept would write outside of any. */
  close(): void {
    this.#open = false;
  }

  #database(): RootDatabase<Uint8Array, Uint8Array> {
    if (!this.#open) throw internal("transaction is over");
    return this.#lmdb;
  }
}
