/** Numbers that look random and are the same for the same seed. */
export interface SeededRandom {
  /** A whole number, at least 0 and below `limit`. */
  below(limit: number): number;
  /** One of the elements. @throws RangeError - there is none */
  pick<T>(elements: readonly T[]): T;
  /** Bytes that do not compress. */
  bytes(length: number): Uint8Array;
}

/** This makes a source of numbers from a seed of 32 bits. */
export function seededRandom(seed: number): SeededRandom {
  let state = seed | 0;
  const next = (): number => {
    // mulberry32
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
  return {
    below: (limit) => Math.floor((next() / 2 ** 32) * limit),
    pick<T>(elements: readonly T[]): T {
      if (elements.length === 0) throw new RangeError("nothing to pick from");
      // The index is within bounds; the cast keeps `undefined` elements.
      return elements[Math.floor((next() / 2 ** 32) * elements.length)] as T;
    },
    bytes(length) {
      const words = new Uint32Array(Math.ceil(length / 4));
      for (let index = 0; index < words.length; index++) words[index] = next();
      return new Uint8Array(words.buffer, 0, length);
    },
  };
}
