import type { FileHandle } from "node:fs/promises";

import { dataLoss } from "@berth/errors";

// The two pages at the beginning of a file, as LMDB of lmdb-js lays them out on a 64-bit machine.
const MAGIC_OFFSET = 24;
const VERSION_OFFSET = 28;
const PAGE_SIZE_OFFSET = 48;
const FREE_ROOT_OFFSET = 88;
const MAIN_ROOT_OFFSET = 136;
const TRANSACTION_OFFSET = 152;
const META_BYTES = 160;

const MAGIC = 0xbeefc0de;
const VERSION = 2;
const MIN_PAGE_BYTES = 256;
const MAX_PAGE_BYTES = 64 * 1024;
/** Root of a tree without pages. */
const NO_PAGE = 2n ** 64n - 1n;

interface Meta {
  readonly transaction: bigint;
  /** Numbers of the pages that the trees begin with. */
  readonly roots: readonly bigint[];
}

/**
 * This refuses a file that is no database, or has lost its end: LMDB maps it into memory and would end the process. A new, empty file
 * is fine.
 *
 * @throws data_loss
 */
export async function checkDatabaseFile(file: FileHandle, path: string): Promise<void> {
  const { size } = await file.stat();
  if (size === 0) return;
  const pageBytes = await readPageSize(file, path);
  const metas = [await readMeta(file, path, 0), await readMeta(file, path, pageBytes)];
  const [newest] = metas.toSorted((a, b) => Number(b.transaction - a.transaction));
  const pages = BigInt(Math.floor(size / pageBytes));
  if (newest?.roots.some((root) => root !== NO_PAGE && root >= pages) === true) {
    throw dataLoss(`${path} is cut off: ${size} bytes, its newest state has pages behind them`);
  }
}

async function readPageSize(file: FileHandle, path: string): Promise<number> {
  const bytes = await readAt(file, path, 0);
  const pageBytes = bytes.readUInt32LE(PAGE_SIZE_OFFSET);
  const isPower = Number.isInteger(Math.log2(pageBytes));
  if (isMeta(bytes) && isPower && pageBytes >= MIN_PAGE_BYTES && pageBytes <= MAX_PAGE_BYTES) return pageBytes;
  throw notDatabase(path);
}

async function readMeta(file: FileHandle, path: string, offset: number): Promise<Meta> {
  const bytes = await readAt(file, path, offset);
  if (!isMeta(bytes)) throw notDatabase(path);
  return {
    transaction: bytes.readBigUInt64LE(TRANSACTION_OFFSET),
    roots: [bytes.readBigUInt64LE(FREE_ROOT_OFFSET), bytes.readBigUInt64LE(MAIN_ROOT_OFFSET)],
  };
}

async function readAt(file: FileHandle, path: string, offset: number): Promise<Buffer> {
  const bytes = Buffer.alloc(META_BYTES);
  const { bytesRead } = await file.read(bytes, 0, META_BYTES, offset);
  if (bytesRead < META_BYTES) throw notDatabase(path);
  return bytes;
}

function isMeta(bytes: Buffer): boolean {
  return bytes.readUInt32LE(MAGIC_OFFSET) === MAGIC && bytes.readUInt32LE(VERSION_OFFSET) === VERSION;
}

function notDatabase(path: string): Error {
  return dataLoss(`${path} is no database, or its beginning is damaged`);
}
