import { invalidArgument } from "@berth/errors";

const SPACE = 0x20;
const ZERO = 0x30;
const SEVEN = 0x37;

/**
 * This reads a numeric header field: octal text, or GNU's base-256 where the first bit is set.
 *
 * @throws invalid_argument - other characters, or a magnitude beyond 2^53 - 1
 */
export function parseNumber(block: Uint8Array, offset: number, length: number, field: string): number {
  const first = block[offset] ?? 0;
  if ((first & 0x80) !== 0) return parseBase256(block, offset, length, field);
  let at = offset;
  let end = offset + length;
  while (at < end && isPadding(block[at])) at++;
  while (end > at && isPadding(block[end - 1])) end--;
  let value = 0;
  for (; at < end; at++) {
    const byte = block[at] ?? 0;
    // Text after a NUL is left-over of an earlier, longer value.
    if (byte === 0) break;
    if (byte < ZERO || byte > SEVEN) throw invalidArgument(`tar header: ${field} is not a number`);
    value = value * 8 + (byte - ZERO);
  }
  if (!Number.isSafeInteger(value)) throw invalidArgument(`tar header: ${field} is too large`);
  return value;
}

/** This is {@link parseNumber} for what cannot be below zero. @throws invalid_argument - it is */
export function parseUnsigned(block: Uint8Array, offset: number, length: number, field: string): number {
  const value = parseNumber(block, offset, length, field);
  if (value < 0) throw invalidArgument(`tar header: ${field} is negative: ${value}`);
  return value;
}

function isPadding(byte: number | undefined): boolean {
  return byte === SPACE || byte === 0;
}

function parseBase256(block: Uint8Array, offset: number, length: number, field: string): number {
  const negative = ((block[offset] ?? 0) & 0x40) !== 0;
  const invert = negative ? 0xff : 0;
  let value = 0;
  for (let i = 0; i < length; i++) {
    let byte = (block[offset + i] ?? 0) ^ invert;
    if (i === 0) byte &= 0x7f;
    value = value * 256 + byte;
    if (value > Number.MAX_SAFE_INTEGER) throw invalidArgument(`tar header: ${field} is too large`);
  }
  return negative ? -value - 1 : value;
}

/** This says whether `value` fits `digits` octal digits. */
export function fitsOctal(value: number, digits: number): boolean {
  return value >= 0 && value < 8 ** digits;
}

/** This writes `value` as zero-padded octal with a closing NUL. The caller has checked {@link fitsOctal}. */
export function writeOctal(block: Uint8Array, offset: number, length: number, value: number): void {
  let rest = value;
  for (let at = offset + length - 2; at >= offset; at--) {
    block[at] = ZERO + (rest % 8);
    rest = Math.floor(rest / 8);
  }
  block[offset + length - 1] = 0;
}
