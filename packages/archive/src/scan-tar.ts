import type { TarBudgets } from "./budgets.ts";
import { BLOCK_SIZE } from "./header-block.ts";
import type { TarHeader } from "./tar-header.ts";
import { createTarReader } from "./tar-reader.ts";

/** Bytes that can be read anywhere. */
export interface RandomAccess {
  readonly size: number;
  /** Fewer bytes than asked for only at the end. */
  readAt(offset: number, length: number): Promise<Uint8Array>;
}

/** An entry, and where its content begins. */
export interface TarLocation {
  readonly header: TarHeader;
  readonly offset: number;
  /** Where its content and what fills that up end, and all that belongs to the next entry begins. */
  readonly end: number;
}

/**
 * This finds the entries of an uncompressed archive without reading what is in them.
 *
 * @throws invalid_argument, data_loss, resource_exhausted - as `TarReader`
 */
export async function* scanTar(
  source: RandomAccess,
  budgets?: Partial<TarBudgets>,
): AsyncGenerator<TarLocation, void, undefined> {
  const found: TarHeader[] = [];
  const reader = createTarReader({ entry: (header) => found.push(header), data() {}, endEntry() {} }, budgets);
  for (let offset = 0; offset < source.size && !reader.ended;) {
    const block = await source.readAt(offset, BLOCK_SIZE);
    reader.write(block);
    offset += block.length;
    const { skippable } = reader;
    for (const header of found.splice(0)) yield { header, offset, end: offset + skippable };
    if (offset + skippable > source.size) break;
    reader.skip();
    offset += skippable;
  }
  reader.end();
}
