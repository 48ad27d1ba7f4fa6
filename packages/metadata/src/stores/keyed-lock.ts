/** Mutual exclusion by name, for steps that take several awaits. First come, first served. */
export class KeyedLock {
  readonly #tails = new Map<string, Promise<void>>();

  /** This waits for all of `keys` and holds them until the result is disposed. */
  async acquire(keys: Iterable<string>): Promise<Disposable> {
    using taken = new DisposableStack();
    // In one order everywhere, so that two callers never wait for each other.
    for (const key of [...new Set(keys)].sort()) taken.use(await this.#acquireOne(key));
    return taken.move();
  }

  async #acquireOne(key: string): Promise<Disposable> {
    const before = this.#tails.get(key);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#tails.set(key, promise);
    await before;
    return {
      [Symbol.dispose]: () => {
        if (this.#tails.get(key) === promise) this.#tails.delete(key);
        resolve();
      },
    };
  }
}
