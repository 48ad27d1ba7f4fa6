import { stat, unlink, utimes } from "node:fs/promises";
import { dirname, join } from "node:path";

import type { Logger } from "@berth/core/log";
import { ignoreNotFound, messageOf } from "@berth/errors";

import { syncDirectory, writeFileDurably } from "@berth/core/durable-files";

/** How often the mark moves on, at most. */
const REFRESH_MS = 1000;

/**
 * A file that is there while a store is in use: one that is there at the beginning tells that the last user did not stop in order. Its
 * time is that of the last sync; what was stored before it need not be doubted after a crash.
 *
 * Disposing it takes it away, unless what an earlier crash put in doubt has not been settled.
 */
export class UncleanMark implements AsyncDisposable {
  /** Time of the last sync before a crash, milliseconds since 1970; `undefined` after an orderly stop. */
  readonly since: number | undefined;
  readonly #path: string;
  readonly #log: Logger;
  #settled: boolean;
  #refreshedAt = 0;
  #refreshing: Promise<void> | undefined;
  #closed = false;

  private constructor(path: string, since: number | undefined, log: Logger) {
    this.#path = path;
    this.since = since;
    this.#settled = since === undefined;
    this.#log = log;
  }

  /**
   * This reads the mark in a directory, or makes it. When it resolves, the mark is on disk; where it cannot be made, as on a full disk,
   * there is none: what is stored can be read and removed all the same.
   */
  static async open(directory: string, log: Logger): Promise<UncleanMark> {
    const path = join(directory, "unclean");
    const found = await stat(path).catch(ignoreNotFound);
    if (found !== undefined) return new UncleanMark(path, found.mtimeMs, log);
    try {
      await writeFileDurably(path, "");
    } catch (error) {
      log.warn("an unclean stop will not be noticed", { path, error: messageOf(error) });
    }
    return new UncleanMark(path, undefined, log);
  }

  /** This tells that nothing stored so far is in doubt: a sync has ended. It does not wait, and is cheap to call often. */
  refresh(): void {
    const now = Date.now();
    if (this.#closed || !this.#settled || this.#refreshing !== undefined) return;
    // A clock that was set back moves the mark back too: that only puts more in doubt.
    if (Math.abs(now - this.#refreshedAt) < REFRESH_MS) return;
    this.#refreshedAt = now;
    this.#refreshing = this.#touch(now);
  }

  /** This tells that what the last crash put in doubt has been looked at. */
  settle(): void {
    this.#settled = true;
    this.refresh();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#refreshing;
    if (!this.#settled) return;
    await unlink(this.#path).catch(ignoreNotFound);
    // So that the next start does not doubt what need not be doubted.
    await syncDirectory(dirname(this.#path));
  }

  /** Not forced to disk: an older mark only puts more in doubt. */
  async #touch(at: number): Promise<void> {
    try {
      await utimes(this.#path, at / 1000, at / 1000).catch(ignoreNotFound);
    } catch (error) {
      this.#log.warn("failed to refresh mark of unclean stops", { path: this.#path, error: messageOf(error) });
    } finally {
      this.#refreshing = undefined;
    }
  }
}
