import { invalidArgument } from "@berth/errors";

import type { SparseSegment } from "./sparse-map.ts";
import type { TarHandlers } from "./tar-handlers.ts";

/** Hands the stored bytes of one entry out to where they belong in its file. */
export class EntryContent {
  readonly #handlers: Pick<TarHandlers, "data">;
  #segments: readonly SparseSegment[] | undefined;
  #segmentIndex = 0;
  /** How much of the file, or of its present segment, has been handed out. */
  #position = 0;

  constructor(handlers: Pick<TarHandlers, "data">) {
    this.#handlers = handlers;
  }

  /** An entry begins; without segments it is stored as a whole. */
  begin(segments: readonly SparseSegment[] | undefined): void {
    this.#segments = segments;
    this.#segmentIndex = 0;
    this.#position = 0;
  }

  /** The next of its bytes. @throws invalid_argument - there are more than its segments hold */
  take(stored: Uint8Array): void {
    if (this.#segments !== undefined) return this.#sparse(stored, this.#segments);
    this.#handlers.data(stored, this.#position);
    this.#position += stored.length;
  }

  #sparse(stored: Uint8Array, segments: readonly SparseSegment[]): void {
    let at = 0;
    while (at < stored.length) {
      const segment = segments[this.#segmentIndex];
      if (segment === undefined) throw invalidArgument("tar: content behind the last sparse segment");
      const length = Math.min(stored.length - at, segment.length - this.#position);
      if (length > 0) this.#handlers.data(stored.subarray(at, at + length), segment.offset + this.#position);
      at += length;
      this.#position += length;
      if (this.#position < segment.length) continue;
      this.#segmentIndex++;
      this.#position = 0;
    }
  }
}
