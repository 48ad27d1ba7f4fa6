import type { CallOptions } from "./any.ts";

/** Lets a limited number of holders in at a time, in the order in which they asked; `new Turns(1)` is mutual exclusion. By name: `KeyedLock`. */
export class Turns {
  #free: number;
  readonly #waiting = new Set<() => void>();

  constructor(limit: number) {
    this.#free = limit;
  }

  /** This resolves when it is the caller's turn, which lasts until the result is disposed. An aborted wait gives its place away. */
  async acquire({ signal }: CallOptions = {}): Promise<Disposable> {
    signal?.throwIfAborted();
    const now = this.tryAcquire();
    if (now !== undefined) return now;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const abort = (): void => {
      // Not in line any more: the turn is the caller's, who sees the signal.
      if (this.#waiting.delete(resolve)) reject(signal?.reason);
    };
    this.#waiting.add(resolve);
    signal?.addEventListener("abort", abort, { once: true });
    try {
      await promise;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
    return this.#turn();
  }

  /** This begins a turn if nobody is to be waited for. */
  tryAcquire(): Disposable | undefined {
    if (this.#free === 0) return undefined;
    this.#free--;
    return this.#turn();
  }

  /** This does `work` in a turn of its own, which ends with it, whatever the outcome. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    using _turn = await this.acquire();
    return await work();
  }

  #turn(): Disposable {
    let held = true;
    return {
      [Symbol.dispose]: () => {
        if (!held) return;
        held = false;
        const [next] = this.#waiting;
        if (next === undefined) {
          this.#free++;
          return;
        }
        this.#waiting.delete(next);
        next();
      },
    };
  }
}
