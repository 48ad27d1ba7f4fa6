import { unavailable } from "@berth/errors";

/** Who writes what: one writer per ref in this process. It refuses where `KeyedLock` waits. One daemon owns a root, so nothing on disk is needed. */
export class RefLocks {
  readonly #held = new Map<string, number>();

  /**
   * This locks a ref until the result is disposed.
   *
   * @param name what the message calls it, where that is not the ref itself
   * @throws unavailable - the ref is locked; the message names it and since when
   */
  acquire(ref: string, name: string = ref): Disposable {
    const since = this.#held.get(ref);
    if (since !== undefined) {
      throw unavailable(`ref ${name} locked for ${formatAge(since)} (since ${new Date(since).toISOString()})`);
    }
    this.#held.set(ref, Date.now());
    let released = false;
    return {
      [Symbol.dispose]: () => {
        if (!released) this.#held.delete(ref);
        released = true;
      },
    };
  }

  isHeld(ref: string): boolean {
    return this.#held.has(ref);
  }
}

function formatAge(since: number): string {
  return `${((Date.now() - since) / 1000).toFixed(3)}s`;
}
