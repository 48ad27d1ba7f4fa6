import type { TarHeader } from "./tar-header.ts";

/**
 * What a `TarReader` calls, synchronously, in the order of the archive. An error thrown here ends the reading and
 * comes out of `write`.
 */
export interface TarHandlers {
  /** An entry starts. */
  entry(header: TarHeader): void;
  /** Some of its content and where in the file it belongs. The bytes are valid during the call only; holes are left out. */
  data(bytes: Uint8Array, offset: number): void;
  /** The entry is complete. Called for every entry, also one without content. */
  endEntry(): void;
}
