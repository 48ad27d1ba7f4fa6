import { isUtf8 } from "node:buffer";

import { invalidArgument } from "@berth/errors";

import type { TarTime } from "./tar-header.ts";

const SPACE = 0x20;
const EQUALS = 0x3d;
const NEWLINE = 0x0a;
const NANOSECONDS = 1_000_000_000;

export interface PaxRecord {
  readonly key: string;
  readonly value: Uint8Array;
}

/**
 * This yields the records of a PAX extension header (`<length> <key>=<value>\n`) with their values byte for byte;
 * a value may hold NUL, newline and anything that is not UTF-8.
 *
 * @throws invalid_argument - a length that does not fit, a missing `=` or newline, an empty key or one holding NUL
 */
export function* parsePaxRecords(bytes: Uint8Array): Generator<PaxRecord, void, undefined> {
  let at = 0;
  while (at < bytes.length) {
    const space = bytes.indexOf(SPACE, at);
    const length = space < 0 ? 0 : decimal(bytes, at, space);
    const end = at + length;
    if (length === 0 || end > bytes.length || end <= space + 1)
      throw invalidArgument("tar: PAX record length is wrong");
    if (bytes[end - 1] !== NEWLINE) throw invalidArgument("tar: PAX record does not end with a newline");
    const equals = bytes.indexOf(EQUALS, space + 1);
    if (equals < 0 || equals >= end) throw invalidArgument("tar: PAX record without =");
    const key = text(bytes.subarray(space + 1, equals));
    if (key === "" || key.includes("\0")) throw invalidArgument(`tar: PAX key ${JSON.stringify(key)} is not valid`);
    yield { key, value: bytes.subarray(equals + 1, end - 1) };
    at = end;
  }
}

function decimal(bytes: Uint8Array, from: number, to: number): number {
  if (to === from || to - from > 10) return 0;
  let value = 0;
  for (let at = from; at < to; at++) {
    const digit = (bytes[at] ?? 0) - 0x30;
    if (digit < 0 || digit > 9) return 0;
    value = value * 10 + digit;
  }
  return value;
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString(isUtf8(bytes) ? "utf8" : "latin1");
}

/** This reads a PAX decimal number. @throws invalid_argument - not digits, or beyond 2^53 - 1 */
export function parsePaxNumber(value: Uint8Array, key: string): number {
  const digits = text(value);
  if (!/^[0-9]{1,16}$/.test(digits)) throw invalidArgument(`tar: PAX ${key} ${JSON.stringify(digits)} is not a number`);
  const number = Number(digits);
  if (!Number.isSafeInteger(number)) throw invalidArgument(`tar: PAX ${key} ${digits} is too large`);
  return number;
}

/** This reads a PAX time: seconds with an optional fraction, of which nine digits count. */
export function parsePaxTime(value: Uint8Array, key: string): TarTime {
  const written = text(value);
  const match = /^(-?)([0-9]{1,15})(?:\.([0-9]*))?$/.exec(written);
  if (match === null) throw invalidArgument(`tar: PAX ${key} ${JSON.stringify(written)} is not a time`);
  const seconds = Number(match[2]);
  const nanoseconds = Number((match[3] ?? "").slice(0, 9).padEnd(9, "0"));
  if (match[1] === "") return { seconds, nanoseconds };
  if (nanoseconds === 0) return { seconds: seconds === 0 ? 0 : -seconds, nanoseconds };
  return { seconds: -seconds - 1, nanoseconds: NANOSECONDS - nanoseconds };
}

/** This is the inverse of {@link parsePaxTime}: the shortest text for the time. */
export function formatPaxTime({ seconds, nanoseconds }: TarTime): string {
  if (nanoseconds === 0) return String(seconds);
  const negative = seconds < 0;
  const whole = negative ? -seconds - 1 : seconds;
  const fraction = negative ? NANOSECONDS - nanoseconds : nanoseconds;
  return `${negative ? "-" : ""}${whole}.${String(fraction).padStart(9, "0").replace(/0+$/, "")}`;
}

/** This is the inverse of {@link parsePaxRecords}. The keys must be valid ones. */
export function formatPaxRecords(records: Iterable<PaxRecord>): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const { key, value } of records) {
    const body = Buffer.byteLength(key) + value.length + 3; // space, equals sign and newline
    let length = body + String(body).length;
    // The length counts its own digits: one more digit may carry it over a power of ten.
    if (String(length).length > String(body).length) length = body + String(length).length;
    parts.push(Buffer.from(`${length} ${key}=`), value, Buffer.from("\n"));
  }
  return Buffer.concat(parts);
}
