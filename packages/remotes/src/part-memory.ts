/** Enough for four parts of the largest size. */
export const PART_MEMORY_BYTES = 8 << 20;

/** Memory for parts of downloads that come before it is their turn; shared by all clients that have it. */
export class PartMemory {
  #left: number;

  constructor(bytes: number) {
    this.#left = bytes;
  }

  /** This takes so many bytes until the result is disposed, if there are as many. */
  tryTake(bytes: number): Disposable | undefined {
    if (bytes > this.#left) return undefined;
    this.#left -= bytes;
    let held = true;
    return {
      [Symbol.dispose]: () => {
        if (held) this.#left += bytes;
        held = false;
      },
    };
  }
}
