import { posix } from "node:path";

import { invalidArgument } from "@berth/errors";

import { BLOCK_SIZE } from "./header-block.ts";
import { formatPaxRecords, formatPaxTime, type PaxRecord } from "./pax-records.ts";
import type { TarEntryType, TarTime } from "./tar-header.ts";
import { fitsOctal, writeOctal } from "./tar-numbers.ts";

/** An entry to be written. What is left out is 0, empty or the epoch; modes are 0755 for directories, else 0644. */
export interface TarEntryInput {
  /** Text, or bytes for a name that is not UTF-8. Written as it is: a directory's name should end in a slash. */
  readonly path: string | Uint8Array;
  readonly type: Exclude<TarEntryType, "other">;
  readonly linkPath?: string | Uint8Array;
  /** Must be the length of the content. */
  readonly size?: number;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly userName?: string;
  readonly groupName?: string;
  readonly mtime?: TarTime;
  readonly atime?: TarTime | undefined;
  readonly ctime?: TarTime | undefined;
  readonly deviceMajor?: number;
  readonly deviceMinor?: number;
  readonly xattrs?: ReadonlyMap<string, Uint8Array>;
}

/** An entry with its content, given as a whole or as it flows. */
export interface TarEntryWithContent extends TarEntryInput {
  readonly content?: Uint8Array | AsyncIterable<Uint8Array>;
}

const TYPEFLAGS: Readonly<Record<TarEntryInput["type"], string>> = {
  file: "0",
  link: "1",
  symlink: "2",
  char: "3",
  block: "4",
  directory: "5",
  fifo: "6",
};

const EPOCH: TarTime = { seconds: 0, nanoseconds: 0 };
const SIZE_DIGITS = 11;
const ID_DIGITS = 7;

/** The two zero blocks that end an archive. */
export const TAR_END_MARKER: Uint8Array = new Uint8Array(2 * BLOCK_SIZE);

/** This returns the zeros that fill content of `size` bytes up to a whole block. */
export function tarPadding(size: number): Uint8Array {
  return new Uint8Array((BLOCK_SIZE - (size % BLOCK_SIZE)) % BLOCK_SIZE);
}

/**
 * This makes the header of an entry: one ustar block, with a PAX header before it only where ustar cannot say it all.
 * The same input gives the same bytes, always.
 *
 * @throws invalid_argument - a negative or fractional number, a device number beyond 21 bits, a NUL in a name
 */
export function formatTarHeader(entry: TarEntryInput): Uint8Array {
  const path = nameBytes(entry.path, "path");
  const linkPath = nameBytes(entry.linkPath ?? "", "link path");
  const others = paxRecords(entry, linkPath);
  // A path cut in two is for archives without PAX headers, as in Go.
  const place = splitPath(path, { cut: others.size === 0 });
  if (!place.fits) others.set("path", path);
  const block = headerBlock(
    entry,
    place,
    linkPath.length > 100 || !isAscii(linkPath) ? ascii(linkPath, 100) : linkPath,
  );
  const records = formatPaxRecords(sorted(others));
  if (records.length === 0) return block;
  return Buffer.concat([extensionBlock(path, records.length), records, tarPadding(records.length), block]);
}

/** As Go's `archive/tar` makes it, so that a layer has the same digest. */
function extensionBlock(path: Uint8Array, size: number): Uint8Array {
  const block = new Uint8Array(BLOCK_SIZE);
  const text = Buffer.from(path.buffer, path.byteOffset, path.byteLength).toString("latin1");
  const { dir, base } = posix.parse(text.endsWith("/") ? `${text}.` : text);
  const name = posix.join(dir, "PaxHeaders.0", base);
  block.set(withoutSlashes(ascii(Buffer.from(name, "latin1"), 100)), 0);
  for (const [at, length, value] of [
    [100, 8, 0],
    [108, 8, 0],
    [116, 8, 0],
    [124, 12, size],
    [136, 12, 0],
  ] as const) {
    writeOctal(block, at, length, value);
  }
  block.set(Buffer.from("ustar\x0000", "latin1"), 257);
  seal(block, "x");
  return block;
}

function withoutSlashes(name: Uint8Array): Uint8Array {
  let end = name.length;
  while (name[end - 1] === 0x2f) end--;
  return name.subarray(0, end);
}

/**
 * This writes a whole archive, end marker included. The entries come in the order given; content flows through.
 *
 * @throws invalid_argument - content that is shorter or longer than its `size`
 */
export async function* writeTar(
  entries: Iterable<TarEntryWithContent> | AsyncIterable<TarEntryWithContent>,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const entry of entries) {
    const { content } = entry;
    const size = entry.size ?? (content instanceof Uint8Array ? content.length : 0);
    yield formatTarHeader({ ...entry, size });
    let written = 0;
    for await (const piece of content instanceof Uint8Array ? [content] : (content ?? [])) {
      written += piece.length;
      if (written > size) break;
      if (piece.length > 0) yield piece;
    }
    if (written !== size)
      throw invalidArgument(`tar: ${JSON.stringify(entry.path)} has ${written} bytes, its header says ${size}`);
    if (size % BLOCK_SIZE !== 0) yield tarPadding(size);
  }
  yield TAR_END_MARKER;
}

const NOTHING = new Uint8Array(0);

function nameBytes(name: string | Uint8Array, what: string): Uint8Array {
  const bytes = typeof name === "string" ? Buffer.from(name) : name;
  if (bytes.includes(0)) throw invalidArgument(`tar: ${what} ${JSON.stringify(name)} holds a NUL`);
  return bytes;
}

function isAscii(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte < 0x80);
}

/** The nearest that old programs will see of a name which only its PAX record has in full. */
function ascii(bytes: Uint8Array, length: number): Uint8Array {
  return bytes.filter((byte) => byte < 0x80).subarray(0, length);
}

interface Place {
  readonly name: Uint8Array;
  readonly prefix: Uint8Array;
  /** Name and prefix say the path in full. */
  readonly fits: boolean;
}

function splitPath(path: Uint8Array, { cut }: { readonly cut: boolean }): Place {
  if (isAscii(path)) {
    if (path.length <= 100) return { name: path, prefix: NOTHING, fits: true };
    const slash = path.subarray(0, 156).lastIndexOf(0x2f, path.length - 2);
    if (cut && slash > 0 && path.length - slash - 1 <= 100) {
      return { name: path.subarray(slash + 1), prefix: path.subarray(0, slash), fits: true };
    }
  }
  return { name: cutName(path), prefix: NOTHING, fits: false };
}

/** A file whose cut name ended in a slash would be a directory to old programs. */
function cutName(path: Uint8Array): Uint8Array {
  const letters = path.filter((byte) => byte < 0x80);
  return letters.length > 100 && letters[99] === 0x2f
    ? withoutSlashes(letters.subarray(0, 99))
    : letters.subarray(0, 100);
}

function paxRecords(entry: TarEntryInput, linkPath: Uint8Array): Map<string, string | Uint8Array> {
  const records = new Map<string, string | Uint8Array>();
  if (linkPath.length > 100 || !isAscii(linkPath)) records.set("linkpath", linkPath);
  if (!fitsOctal(entry.size ?? 0, SIZE_DIGITS)) records.set("size", String(entry.size));
  for (const key of ["uid", "gid"] as const)
    if (!fitsOctal(entry[key] ?? 0, ID_DIGITS)) records.set(key, String(entry[key]));
  if (!fitsName(entry.userName)) records.set("uname", entry.userName ?? "");
  if (!fitsName(entry.groupName)) records.set("gname", entry.groupName ?? "");
  const mtime = entry.mtime ?? EPOCH;
  if (mtime.nanoseconds !== 0 || !fitsOctal(mtime.seconds, SIZE_DIGITS)) records.set("mtime", formatPaxTime(mtime));
  if (entry.atime !== undefined) records.set("atime", formatPaxTime(entry.atime));
  if (entry.ctime !== undefined) records.set("ctime", formatPaxTime(entry.ctime));
  for (const [name, value] of entry.xattrs ?? []) records.set(`SCHILY.xattr.${name}`, value);
  return records;
}

/** In one order, whatever the order of the map given. */
function sorted(records: ReadonlyMap<string, string | Uint8Array>): PaxRecord[] {
  return [...records]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => ({ key, value: typeof value === "string" ? Buffer.from(value) : value }));
}

function fitsName(name: string | undefined): boolean {
  return name === undefined || (name.length <= 32 && isAscii(Buffer.from(name)));
}

function headerBlock(entry: TarEntryInput, place: Place, linkName: Uint8Array): Uint8Array {
  const block = new Uint8Array(BLOCK_SIZE);
  const text = (value: string, at: number): void => block.set(Buffer.from(value, "latin1"), at);
  block.set(place.name, 0);
  writeOctal(block, 100, 8, checked(entry.mode ?? (entry.type === "directory" ? 0o755 : 0o644), "mode") & 0o7777);
  writeField(block, 108, 8, checked(entry.uid ?? 0, "uid"));
  writeField(block, 116, 8, checked(entry.gid ?? 0, "gid"));
  writeField(block, 124, 12, checked(entry.size ?? 0, "size"));
  writeField(block, 136, 12, Math.max(0, entry.mtime?.seconds ?? 0));
  block.set(linkName, 157);
  text("ustar\x0000", 257);
  if (fitsName(entry.userName)) text(entry.userName ?? "", 265);
  if (fitsName(entry.groupName)) text(entry.groupName ?? "", 297);
  for (const [at, number] of [
    [329, entry.deviceMajor ?? 0],
    [337, entry.deviceMinor ?? 0],
  ] as const) {
    if (!fitsOctal(checked(number, "device number"), ID_DIGITS))
      throw invalidArgument(`tar: device number ${number} is too large`);
    writeOctal(block, at, 8, number);
  }
  block.set(place.prefix, 345);
  seal(block, TYPEFLAGS[entry.type]);
  return block;
}

function checked(value: number, field: string): number {
  if (!Number.isSafeInteger(value) || value < 0) throw invalidArgument(`tar: ${field} ${value} is not a whole number`);
  return value;
}

/** A value too large for the field is in a PAX record: the field says 0. */
function writeField(block: Uint8Array, offset: number, length: number, value: number): void {
  writeOctal(block, offset, length, fitsOctal(value, length - 1) ? value : 0);
}

function seal(block: Uint8Array, typeflag: string): void {
  block[156] = typeflag.charCodeAt(0);
  block.fill(0x20, 148, 156);
  let sum = 0;
  for (const byte of block) sum += byte;
  writeOctal(block, 148, 7, sum);
}
