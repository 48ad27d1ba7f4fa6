/** Mutual exclusion by key inside this process, first come first served. */
export class KeyedLocks {
  readonly #tails = new Map<string, Promise<void>>();

  /** This waits for the lock of `key` and holds it until the result is disposed. An aborted wait gives its place away. */
  async acquire(key: string, signal?: AbortSignal): Promise<Disposable> {
    const before = this.#tails.get(key);
    const { promise: released, resolve } = Promise.withResolvers<void>();
    const tail = before === undefined ? released : before.then(() => released);
    this.#tails.set(key, tail);
    const release = (): void => {
      resolve();
      if (this.#tails.get(key) === tail) this.#tails.delete(key);
    };
    try {
      await waitFor(before, signal);
    } catch (error) {
      // Whoever comes next still waits for those before: the tail includes them.
      resolve();
      throw error;
    }
    return { [Symbol.dispose]: release };
  }
}

async function waitFor(before: Promise<void> | undefined, signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted();
  if (before === undefined) return;
  if (signal === undefined) return before;
  const { promise, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    await Promise.race([before, promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
