/** Lets a limited number of holders in at a time, in the order in which they asked; `new Turns(1)` is mutual exclusion. By name: `KeyedLock`. */
export class Turns {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(limit: number) {
    this.#free = limit;
  }

  /** This resolves when it is the caller's turn, which lasts until the result is disposed. */
  async acquire(): Promise<Disposable> {
    const now = this.tryAcquire();
    if (now !== undefined) return now;
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
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
        const next = this.#waiting.shift();
        if (next === undefined) this.#free++;
        else next();
      },
    };
  }
}
