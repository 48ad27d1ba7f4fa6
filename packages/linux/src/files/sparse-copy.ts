import { fstatSync, ftruncateSync, readSync, writeSync } from "node:fs";

import { bind, lastErrno } from "../libc.ts";
import { systemError } from "../system-error.ts";

const native = {
  lseek: bind<[number, bigint, number], number | bigint>("lseek", "int64", ["int", "int64", "int"]),
  copyFileRange: bind<[number, BigInt64Array, number, BigInt64Array, number, number], number>(
    "copy_file_range",
    "long",
    ["int", "void *", "int", "void *", "size_t", "uint"],
  ),
};

const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const ENXIO = 6;
/** One call copies at most this much, so that a checkpoint is never far. */
const STRIDE = 64 * 1024 * 1024;
const BUFFER_SIZE = 1024 * 1024;
/** EXDEV, EINVAL, ENOSYS, EOPNOTSUPP: the kernel does not copy between these two files. */
const UNABLE: ReadonlySet<number> = new Set([18, 22, 38, 95]);

/** This finds the next data or hole from an offset on; `undefined` behind the last data. */
function seek(descriptor: number, offset: bigint, whence: number): bigint | undefined {
  const result = BigInt(native.lseek(descriptor, offset, whence));
  if (result !== -1n) return result;
  const errno = lastErrno();
  if (errno === ENXIO) return undefined;
  throw systemError(errno, "lseek");
}

/**
 * This copies an open file into an empty one, holes as holes; where the file system shares blocks, they are shared. The offset of
 * the source is moved. It blocks the thread; `checkpoint` is called every 64 MiB at least and stops it by throwing.
 *
 * @throws ENOSPC
 */
export function copySparse(from: number, to: number, checkpoint: () => void = () => {}): void {
  const size = BigInt(fstatSync(from).size);
  ftruncateSync(to, Number(size));
  for (let data = seek(from, 0n, SEEK_DATA); data !== undefined;) {
    const end = seek(from, data, SEEK_HOLE) ?? size;
    copyRange(from, to, data, end, checkpoint);
    data = end < size ? seek(from, end, SEEK_DATA) : undefined;
  }
}

function copyRange(from: number, to: number, start: bigint, end: bigint, checkpoint: () => void): void {
  const [source, target] = [new BigInt64Array([start]), new BigInt64Array([start])];
  for (let at = start; at < end; at = source[0] ?? end) {
    checkpoint();
    const length = Math.min(Number(end - at), STRIDE);
    const copied = native.copyFileRange(from, source, to, target, length, 0);
    // the source has become shorter
    if (copied === 0) return;
    if (copied > 0) continue;
    const errno = lastErrno();
    if (!UNABLE.has(errno)) throw systemError(errno, "copy_file_range");
    copyByHand(from, to, Number(at), Number(end), checkpoint);
    return;
  }
}

function copyByHand(from: number, to: number, start: number, end: number, checkpoint: () => void): void {
  const buffer = new Uint8Array(BUFFER_SIZE);
  for (let at = start; at < end;) {
    checkpoint();
    const length = readSync(from, buffer, 0, Math.min(end - at, BUFFER_SIZE), at);
    if (length === 0) return;
    for (let written = 0; written < length;) written += writeSync(to, buffer, written, length - written, at + written);
    at += length;
  }
}
