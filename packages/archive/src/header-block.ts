import { isUtf8 } from "node:buffer";

import { invalidArgument } from "@berth/errors";

import { parseNumber, parseUnsigned } from "./tar-numbers.ts";

export const BLOCK_SIZE = 512;

/** A name as text, and as bytes where these are not UTF-8. */
export interface TarName {
  readonly text: string;
  readonly raw: Uint8Array | undefined;
}

/** The 512 bytes of a header as they are, before any extension header is merged in. */
export interface HeaderBlock {
  readonly typeflag: string;
  readonly name: TarName;
  readonly linkName: TarName;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly mtimeSeconds: number;
  readonly atimeSeconds: number | undefined;
  readonly ctimeSeconds: number | undefined;
  readonly userName: string;
  readonly groupName: string;
  readonly deviceMajor: number;
  readonly deviceMinor: number;
}

const NO_NAME: TarName = { text: "", raw: undefined };
const TYPEFLAG = 156;
const CHECKSUM = 148;
const MAGIC = 257;

/** This says whether the block is all zero: half of an end marker. */
export function isZeroBlock(block: Buffer): boolean {
  if (block[0] !== 0) return false;
  for (let i = 1; i < BLOCK_SIZE; i++) if (block[i] !== 0) return false;
  return true;
}

/**
 * This reads a header block of any dialect: old V7, POSIX ustar, GNU and star.
 *
 * @throws invalid_argument - the checksum does not match, or a number is not one
 */
export function parseHeaderBlock(block: Buffer): HeaderBlock {
  verifyChecksum(block);
  const flag = block[TYPEFLAG] ?? 0;
  const typeflag = flag === 0 ? "0" : String.fromCharCode(flag);
  const isDevice = typeflag === "3" || typeflag === "4";
  const magic = block.toString("latin1", MAGIC, MAGIC + 8);
  const posix = magic.startsWith("ustar\0");
  const known = posix || magic === "ustar  \0";
  const extra = posix ? posixExtra(block) : known ? gnuExtra(block) : NO_EXTRA;
  const name = joinPrefix(extra.prefix, readName(block, 0, 100));
  return {
    // Before POSIX a directory was a regular file whose name ends in a slash.
    typeflag: flag === 0 && name.text.endsWith("/") ? "5" : typeflag,
    name,
    linkName: readName(block, 157, 100),
    mode: parseUnsigned(block, 100, 8, "mode"),
    uid: parseUnsigned(block, 108, 8, "uid"),
    gid: parseUnsigned(block, 116, 8, "gid"),
    size: parseUnsigned(block, 124, 12, "size"),
    mtimeSeconds: parseNumber(block, 136, 12, "mtime"),
    atimeSeconds: extra.atime,
    ctimeSeconds: extra.ctime,
    userName: known ? readName(block, 265, 32).text : "",
    groupName: known ? readName(block, 297, 32).text : "",
    deviceMajor: isDevice ? parseUnsigned(block, 329, 8, "device major number") : 0,
    deviceMinor: isDevice ? parseUnsigned(block, 337, 8, "device minor number") : 0,
  };
}

function verifyChecksum(block: Buffer): void {
  let sum = 0;
  for (let i = 0; i < BLOCK_SIZE; i++) sum += block[i] ?? 0;
  // The field itself counts as eight spaces.
  for (let i = CHECKSUM; i < CHECKSUM + 8; i++) sum += 0x20 - (block[i] ?? 0);
  const stored = parseNumber(block, CHECKSUM, 8, "checksum");
  if (stored === sum || stored === signedSum(block)) return;
  throw invalidArgument(`tar header: checksum is ${stored}, computed ${sum}`);
}

/** Some old writers summed the bytes as signed. */
function signedSum(block: Buffer): number {
  let sum = 0;
  for (let i = 0; i < BLOCK_SIZE; i++) sum += i >= CHECKSUM && i < CHECKSUM + 8 ? 0x20 : block.readInt8(i);
  return sum;
}

interface Extra {
  readonly prefix: TarName;
  readonly atime: number | undefined;
  readonly ctime: number | undefined;
}

const NO_EXTRA: Extra = { prefix: NO_NAME, atime: undefined, ctime: undefined };

function posixExtra(block: Buffer): Extra {
  const star = block.toString("latin1", 508, 512) === "tar\0";
  if (!star) return block[345] === 0 ? NO_EXTRA : { ...NO_EXTRA, prefix: readName(block, 345, 155) };
  return {
    prefix: readName(block, 345, 131),
    atime: parseNumber(block, 476, 12, "atime"),
    ctime: parseNumber(block, 488, 12, "ctime"),
  };
}

function gnuExtra(block: Buffer): Extra {
  if (block[345] === 0 && block[357] === 0) return NO_EXTRA;
  try {
    const atime = block[345] === 0 ? undefined : parseNumber(block, 345, 12, "atime");
    const ctime = block[357] === 0 ? undefined : parseNumber(block, 357, 12, "ctime");
    return { prefix: NO_NAME, atime, ctime };
  } catch {
    // Go before 1.8 wrote a ustar prefix under GNU's magic: not times, so it is that.
    return { ...NO_EXTRA, prefix: readName(block, 345, 155) };
  }
}

/** This takes a field up to its first NUL as a name. */
function readName(block: Buffer, offset: number, length: number): TarName {
  if (block[offset] === 0) return NO_NAME;
  const nul = block.indexOf(0, offset);
  return toName(block.subarray(offset, nul < 0 || nul > offset + length ? offset + length : nul));
}

/** This decodes a name; the bytes are copied where they must be kept. */
export function toName(bytes: Uint8Array): TarName {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = buffer.toString();
  // The replacement character is either written there or a sign of bytes that are not UTF-8.
  if (!text.includes("\uFFFD") || isUtf8(buffer)) return { text, raw: undefined };
  return { text, raw: Uint8Array.from(bytes) };
}

function joinPrefix(prefix: TarName, name: TarName): TarName {
  if (prefix.text === "") return name;
  const text = `${prefix.text}/${name.text}`;
  if (prefix.raw === undefined && name.raw === undefined) return { text, raw: undefined };
  const parts = [prefix.raw ?? Buffer.from(prefix.text), Buffer.from("/"), name.raw ?? Buffer.from(name.text)];
  return { text, raw: Uint8Array.from(Buffer.concat(parts)) };
}
