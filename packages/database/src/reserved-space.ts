import { fstatSync } from "node:fs";

import type { Logger } from "@berth/core/log";
import { messageOf, systemErrorCode } from "@berth/errors";
import { fallocate } from "@berth/linux/files";

/** Enough for thousands of removals, each of which writes a few pages before it frees any. */
const RESERVE_BYTES = 8 * 1024 ** 2;
/** Reserved again when the file has grown into half of it. */
const LOW_BYTES = RESERVE_BYTES / 2;
/** Where there is no room, a file system may work for milliseconds to find out: not after every commit. */
const RETRY_MS = 10_000;

/**
 * Blocks past the end of a file, whose size they do not change: on a full disk, removing something must work.
 * Where the file system cannot do that, or is full already, the file has none.
 */
export class ReservedSpace {
  readonly #descriptor: number;
  readonly #log: Logger;
  #end = 0;
  #retryAt = 0;

  /** `descriptor` must be open for writing and stays the caller's. */
  constructor(descriptor: number, log: Logger) {
    this.#descriptor = descriptor;
    this.#log = log;
  }

  /** This reserves space where less than half of it is left; cheap when there is nothing to do. */
  renew(): void {
    // The size of an open file is in memory: nothing is waited for.
    const { size } = fstatSync(this.#descriptor);
    if (this.#end - size >= LOW_BYTES || performance.now() < this.#retryAt) return;
    try {
      fallocate(this.#descriptor, BigInt(size), BigInt(RESERVE_BYTES), { keepSize: true });
      this.#end = size + RESERVE_BYTES;
    } catch (error) {
      const code = systemErrorCode(error);
      this.#retryAt = code === "EOPNOTSUPP" ? Infinity : performance.now() + RETRY_MS;
      const expected = code === "EOPNOTSUPP" || code === "ENOSPC" || code === "EDQUOT";
      // Never thrown: what was committed stays committed.
      this.#log[expected ? "debug" : "warn"]("no space reserved for the database", { error: messageOf(error) });
    }
  }
}
