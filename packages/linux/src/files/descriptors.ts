import { constants } from "node:fs";

import { bind, check, lastErrno } from "../libc.ts";
import { systemError } from "../system-error.ts";

const native = {
  close: bind<[number], number>("close", "int", ["int"]),
  fcntl: bind<[number, number, number], number>("fcntl", "int", ["int", "int", "long"]),
  flock: bind<[number, number], number>("flock", "int", ["int", "int"]),
  syncfs: bind<[number], number>("syncfs", "int", ["int"]),
  fallocate: bind<[number, number, bigint, bigint], number>("fallocate", "int", ["int", "int", "int64", "int64"]),
  pipe2: bind<[Int32Array, number], number>("pipe2", "int", ["void *", "int"]),
};

const F_GETFL = 3;
const F_SETFL = 4;
const F_DUPFD_CLOEXEC = 1030;
const O_CLOEXEC = 0o2000000;

/** This closes a descriptor that a call of this package returned. */
export function closeFd(descriptor: number): void {
  check(native.close(descriptor), "close");
}

/** This duplicates a descriptor onto the lowest free number from `atLeast` on, closed on exec. */
export function dup(descriptor: number, atLeast = 0): number {
  return check(native.fcntl(descriptor, F_DUPFD_CLOEXEC, atLeast), "fcntl");
}

/** This makes reads and writes of an open file answer EAGAIN instead of waiting, for all who share it. */
export function setNonBlocking(descriptor: number): void {
  const flags = check(native.fcntl(descriptor, F_GETFL, 0), "fcntl");
  check(native.fcntl(descriptor, F_SETFL, flags | constants.O_NONBLOCK), "fcntl");
}

/** How `pipe2` opens both ends; `cloexec` is on unless switched off. */
export interface PipeOptions {
  readonly cloexec?: boolean;
  readonly nonblock?: boolean;
}

/** This makes a pipe and returns its read end and its write end, which the caller closes. */
export function pipe2(options: PipeOptions = {}): readonly [read: number, write: number] {
  const ends = new Int32Array(2);
  const flags = (options.cloexec === false ? 0 : O_CLOEXEC) | (options.nonblock ? constants.O_NONBLOCK : 0);
  check(native.pipe2(ends, flags), "pipe2");
  const [read = -1, write = -1] = ends;
  return [read, write];
}

/** How `flock` locks. */
export interface LockOptions {
  /** Alone (default) or shared with other readers. */
  readonly exclusive?: boolean;
  /** Answer at once (default); `false` blocks the thread until the lock is there. */
  readonly nonBlocking?: boolean;
}

const EWOULDBLOCK = 11;

/** This locks an open file until it is closed, by all who share it; `false` means that another one holds the lock. */
export function flock(descriptor: number, options: LockOptions = {}): boolean {
  const operation = (options.exclusive === false ? 1 : 2) | (options.nonBlocking === false ? 0 : 4);
  if (native.flock(descriptor, operation) === 0) return true;
  const errno = lastErrno();
  if (errno === EWOULDBLOCK) return false;
  throw systemError(errno, "flock");
}

/** This releases a lock of {@link flock}. */
export function unlock(descriptor: number): void {
  check(native.flock(descriptor, 8), "flock");
}

/** This writes everything of the file system that holds the descriptor to the disk; one thread of libuv's pool waits for it. */
export async function syncfs(descriptor: number): Promise<void> {
  const { result, errno } = await native.syncfs.async(descriptor);
  if (result === -1) throw systemError(errno, "syncfs");
}

/** What `fallocate` does besides reserving. */
export interface AllocateOptions {
  /** Reserve blocks without changing the size of the file. */
  readonly keepSize?: boolean;
}

/** This reserves disk blocks. @throws ENOSPC - they are not there @throws EOPNOTSUPP - the file system cannot */
export function fallocate(descriptor: number, offset: bigint, length: bigint, options?: AllocateOptions): void {
  check(native.fallocate(descriptor, options?.keepSize ? 1 : 0, offset, length), "fallocate");
}
