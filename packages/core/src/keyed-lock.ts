import type { CallOptions } from "./any.ts";
import { raceSignal } from "./race-signal.ts";

/** Mutual exclusion by name inside this process, for steps that take several awaits. First come, first served. */
export class KeyedLock {
  readonly #tails = new Map<string, Promise<void>>();

  /**
   * This waits for `keys`, one or several, and holds them until the result is disposed. An aborted wait gives its places away.
   * Callers that want several keys never wait for each other in a circle.
   */
  async acquire(keys: string | Iterable<string>, { signal }: CallOptions = {}): Promise<Disposable> {
    using taken = new DisposableStack();
    const wanted = typeof keys === "string" ? [keys] : [...new Set(keys)].sort();
    for (const key of wanted) taken.use(await this.#acquireOne(key, signal));
    return taken.move();
  }

  /** This resolves when all who held or wanted `key` before the call have let go of it. */
  async settled(key: string): Promise<void> {
    await this.#tails.get(key);
  }

  async #acquireOne(key: string, signal: AbortSignal | undefined): Promise<Disposable> {
    signal?.throwIfAborted();
    const before = this.#tails.get(key);
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    // Whoever comes next waits for those before too, even if this one gives up.
    const tail = before === undefined ? released : before.then(() => released);
    this.#tails.set(key, tail);
    const forget = (): void => {
      if (this.#tails.get(key) === tail) this.#tails.delete(key);
    };
    try {
      if (before !== undefined) await raceSignal(before, signal);
    } catch (error) {
      release();
      void tail.then(forget);
      throw error;
    }
    return {
      [Symbol.dispose]: () => {
        release();
        forget();
      },
    };
  }
}
