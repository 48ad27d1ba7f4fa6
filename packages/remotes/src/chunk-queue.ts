/** A chunk below this costs more than its bytes are worth; so does one that is less than half of the memory that it keeps. */
const SMALL_BYTES = 4096;
const MAX_KEPT = 2;
const GATHERED_BYTES = 64 * 1024;

/**
 * Chunks that wait for their reader, in at most twice as much memory as they have bytes, and {@link GATHERED_BYTES}: small ones are copied together, as who sends them may make them as small as they like.
 * What is taken out has a buffer of its own, or the one that it came with.
 */
export class ChunkQueue {
  readonly #chunks: Uint8Array[] = [];
  /** Small ones that came after all of those. */
  #gathered: Uint8Array | undefined;
  #gatheredBytes = 0;
  #bytes = 0;

  /** Of all that waits. */
  get bytes(): number {
    return this.#bytes;
  }

  push(chunk: Uint8Array): void {
    this.#bytes += chunk.length;
    if (chunk.length >= SMALL_BYTES && chunk.buffer.byteLength <= chunk.length * MAX_KEPT) {
      this.#endGathered();
      this.#chunks.push(chunk);
      return;
    }
    for (let rest = chunk; rest.length > 0;) {
      this.#gathered ??= new Uint8Array(GATHERED_BYTES);
      const part = rest.subarray(0, GATHERED_BYTES - this.#gatheredBytes);
      this.#gathered.set(part, this.#gatheredBytes);
      this.#gatheredBytes += part.length;
      rest = rest.subarray(part.length);
      if (this.#gatheredBytes === GATHERED_BYTES) this.#endGathered();
    }
  }

  /** This takes out what came first; `undefined` when nothing waits. */
  shift(): Uint8Array | undefined {
    if (this.#chunks.length === 0) this.#endGathered();
    const chunk = this.#chunks.shift();
    // Now: who has it may give its memory away, with which it loses its length.
    this.#bytes -= chunk?.length ?? 0;
    return chunk;
  }

  clear(): void {
    this.#chunks.length = 0;
    this.#gathered = undefined;
    this.#gatheredBytes = 0;
    this.#bytes = 0;
  }

  #endGathered(): void {
    const length = this.#gatheredBytes;
    if (this.#gathered === undefined || length === 0) return;
    const isFull = length === GATHERED_BYTES;
    this.#chunks.push(isFull ? this.#gathered : this.#gathered.slice(0, length));
    // What is left of it is used again: a fast reader takes the bytes one by one.
    if (isFull) this.#gathered = undefined;
    this.#gatheredBytes = 0;
  }
}
