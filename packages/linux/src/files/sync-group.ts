/**
 * Shares one sync among all who wait for it: a call is answered by a sync that began after the call was made. Calls made while
 * one runs wait for the next, which they share.
 */
export class SyncGroup {
  readonly #sync: () => Promise<void>;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  /** @param sync - puts everything on disk that was written before it is called */
  constructor(sync: () => Promise<void>) {
    this.#sync = sync;
  }

  /** Nobody waits, and no sync runs. */
  get idle(): boolean {
    return this.#running === undefined && this.#next === undefined;
  }

  /** This resolves when everything written before the call is on disk. It rejects as the sync does that it waited for. */
  wait(): Promise<void> {
    this.#next ??= this.#startAfter(this.#running);
    return this.#next;
  }

  /** Resolves when no sync runs and nobody waits for one, however they ended. */
  async quiet(): Promise<void> {
    while (!this.idle) await (this.#next ?? this.#running)?.catch(() => {});
  }

  async #startAfter(running: Promise<void> | undefined): Promise<void> {
    // The outcome of the running sync belongs to those who wait for it.
    await running?.catch(() => {});
    const mine = this.#sync();
    this.#running = mine;
    this.#next = undefined;
    try {
      await mine;
    } finally {
      if (this.#running === mine) this.#running = undefined;
    }
  }
}
