/** Runs work one after the other per key; work under different keys runs side by side. */
export class KeyedMutex {
  readonly #tails = new Map<string, Promise<void>>();

  /** This runs `work` when all earlier work under `key` has ended, and passes on its outcome. */
  async run<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(key);
    const { promise: tail, resolve: release } = Promise.withResolvers<void>();
    this.#tails.set(key, tail);
    try {
      await before;
      return await work();
    } finally {
      release();
      if (this.#tails.get(key) === tail) this.#tails.delete(key);
    }
  }

  /** This resolves when the work begun before the call has ended, well or not. */
  async settled(key: string): Promise<void> {
    await this.#tails.get(key);
  }
}
