import { invalidArgument } from "@berth/errors";

import { parseUnsigned } from "./tar-numbers.ts";

/** A run of stored bytes and where in the file it belongs. */
export interface SparseSegment {
  readonly offset: number;
  readonly length: number;
}

const ENTRY_SIZE = 24;
const FIELD = 12;

/** This appends the segments of one old GNU sparse table (4 in a header, 21 in an extension block) to `segments`. */
export function appendGnuSegments(block: Uint8Array, at: number, count: number, segments: SparseSegment[]): void {
  for (let i = 0; i < count; i++) {
    const start = at + i * ENTRY_SIZE;
    // An entry that starts with NUL is unused, and so are those behind it.
    if (block[start] === 0 || block[start] === undefined) return;
    const offset = parseUnsigned(block, start, FIELD, "sparse offset");
    segments.push({ offset, length: parseUnsigned(block, start + FIELD, FIELD, "sparse length") });
  }
}

/** This makes segments of PAX 0.0 and 0.1 numbers: offset, length, offset, length, … */
export function segmentsOf(numbers: readonly number[]): SparseSegment[] {
  if (numbers.length % 2 !== 0) throw invalidArgument("tar: sparse map has an offset without a length");
  const segments: SparseSegment[] = [];
  for (let i = 0; i < numbers.length; i += 2) segments.push({ offset: numbers[i] ?? 0, length: numbers[i + 1] ?? 0 });
  return segments;
}

/** This reads the comma-separated map of PAX 0.1. @throws invalid_argument */
export function parseCommaNumbers(value: Uint8Array): number[] {
  const written = Buffer.from(value).toString("latin1");
  if (written === "") return [];
  return written.split(",").map(parseMapNumber);
}

function parseMapNumber(written: string): number {
  const value = Number(written);
  if (!/^[0-9]{1,16}$/.test(written) || !Number.isSafeInteger(value))
    throw invalidArgument("tar: sparse map is not numbers");
  return value;
}

/**
 * This checks that the segments are in order, do not overlap, end inside the file and add up to what is stored.
 *
 * @throws invalid_argument - otherwise
 */
export function checkSegments(segments: readonly SparseSegment[], fileSize: number, storedSize: number): void {
  let end = 0;
  let stored = 0;
  for (const { offset, length } of segments) {
    if (offset < end) throw invalidArgument("tar: sparse segments overlap or are out of order");
    end = offset + length;
    if (end > fileSize) throw invalidArgument("tar: sparse segment ends behind the file");
    stored += length;
  }
  if (stored !== storedSize)
    throw invalidArgument(`tar: sparse segments hold ${stored} bytes, the entry ${storedSize}`);
}

/**
 * The map of PAX 1.0, read as its blocks arrive: decimal lines, first the number of segments, then offset and length of
 * each. It grows with what has arrived, whatever the first line claims.
 */
export class InlineSparseMap {
  readonly #numbers: number[] = [];
  #line = "";
  #expected = Infinity;
  /** Bytes taken so far. */
  bytes = 0;

  /** Takes the next block and returns the segments once the map is complete. @throws invalid_argument */
  take(block: Buffer): SparseSegment[] | undefined {
    this.bytes += block.length;
    const lines = (this.#line + block.toString("latin1")).split("\n");
    this.#line = lines.pop() ?? "";
    for (const line of lines) {
      const number = parseMapNumber(line);
      if (this.#expected === Infinity) this.#expected = number * 2;
      else this.#numbers.push(number);
      if (this.#numbers.length === this.#expected) return segmentsOf(this.#numbers);
    }
    // No number is that long: without this a block without newlines would be carried along for ever.
    if (this.#line.length > 16) throw invalidArgument("tar: sparse map is not numbers");
    return undefined;
  }
}
