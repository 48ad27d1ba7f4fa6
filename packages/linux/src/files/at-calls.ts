import { AT_FDCWD, bind, check, type NativePath, nativePath, SYS } from "../libc.ts";

const native = {
  openat2: bind<[number, number, NativePath, BigUint64Array, number], number>("syscall", "long", [
    "long",
    "int",
    "str",
    "void *",
    "size_t",
  ]),
  mkdirat: bind<[number, NativePath, number], number>("mkdirat", "int", ["int", "str", "uint"]),
  unlinkat: bind<[number, NativePath, number], number>("unlinkat", "int", ["int", "str", "int"]),
  symlinkat: bind<[NativePath, number, NativePath], number>("symlinkat", "int", ["str", "int", "str"]),
  linkat: bind<[number, NativePath, number, NativePath, number], number>("linkat", "int", [
    "int",
    "str",
    "int",
    "str",
    "int",
  ]),
  mknodat: bind<[number, NativePath, number, bigint], number>("mknodat", "int", ["int", "str", "uint", "uint64"]),
  fchownat: bind<[number, NativePath, number, number, number], number>("fchownat", "int", [
    "int",
    "str",
    "uint",
    "uint",
    "int",
  ]),
  fchmodat: bind<[number, NativePath, number, number], number>("fchmodat", "int", ["int", "str", "uint", "int"]),
  utimensat: bind<[number, NativePath, BigInt64Array, number], number>("utimensat", "int", [
    "int",
    "str",
    "void *",
    "int",
  ]),
  renameat2: bind<[number, NativePath, number, NativePath, number], number>("renameat2", "int", [
    "int",
    "str",
    "int",
    "str",
    "uint",
  ]),
  readlinkat: bind<[number, NativePath, Uint8Array, number], number>("readlinkat", "long", [
    "int",
    "str",
    "void *",
    "size_t",
  ]),
};

/** Do not follow a symbolic link in the last place. */
export const AT_SYMLINK_NOFOLLOW = 0x100;
/** `unlinkat`: remove a directory. */
export const AT_REMOVEDIR = 0x200;
/** `linkat`: follow a symbolic link in the last place. */
export const AT_SYMLINK_FOLLOW = 0x400;
/** Work on the descriptor itself when the path is empty. */
export const AT_EMPTY_PATH = 0x1000;

/** `openat2`: cross no mount point. */
export const RESOLVE_NO_XDEV = 0x01;
/** `openat2`: follow no magic link of /proc. */
export const RESOLVE_NO_MAGICLINKS = 0x02;
/** `openat2`: follow no symbolic link at all. */
export const RESOLVE_NO_SYMLINKS = 0x04;
/** `openat2`: fail with EXDEV when the path leaves the directory. */
export const RESOLVE_BENEATH = 0x08;
/** `openat2`: treat the directory as `/`: links and `..` stay inside. */
export const RESOLVE_IN_ROOT = 0x10;

/** `open`: a descriptor that names a file without opening it. Node's `fs.constants` has no name for it. */
export const O_PATH = 0o10000000;
/** `open`: the descriptor does not reach child processes. */
export const O_CLOEXEC = 0o2000000;

/** `renameat2`: fail with EEXIST instead of replacing. */
export const RENAME_NOREPLACE = 1;
/** `renameat2`: swap both names. */
export const RENAME_EXCHANGE = 2;
/** `renameat2`: leave an overlay whiteout in place of the old name. */
export const RENAME_WHITEOUT = 4;

/** How `openat2` opens. */
export interface OpenHow {
  /** O_* bits; O_CLOEXEC is always added. */
  readonly flags: number;
  /** Mode of a file that O_CREAT makes; default 0. */
  readonly mode?: number;
  /** RESOLVE_* bits; default 0. */
  readonly resolve?: number;
}

const how = new BigUint64Array(3);

/**
 * This opens a path relative to a directory descriptor under the given rules of resolution and returns the descriptor,
 * which the caller closes.
 * @throws EXDEV - the path leaves the directory (RESOLVE_BENEATH)
 * @throws ELOOP - a link that may not be followed
 * @throws EAGAIN - a rename raced with `..`; try again
 */
export function openat2(directory: number, path: NativePath, options: OpenHow): number {
  how[0] = BigInt((options.flags | O_CLOEXEC) >>> 0);
  how[1] = BigInt(options.mode ?? 0);
  how[2] = BigInt(options.resolve ?? 0);
  return check(native.openat2(SYS.openat2, directory, nativePath(path, "openat2"), how, 24), "openat2", path);
}

/** This makes a directory; the mode is subject to the umask. */
export function mkdirat(directory: number, path: NativePath, mode: number): void {
  check(native.mkdirat(directory, nativePath(path, "mkdirat"), mode), "mkdirat", path);
}

/** This removes a name, or with AT_REMOVEDIR an empty directory. */
export function unlinkat(directory: number, path: NativePath, flags = 0): void {
  check(native.unlinkat(directory, nativePath(path, "unlinkat"), flags), "unlinkat", path);
}

/** This makes a symbolic link at `path` that reads `target`. */
export function symlinkat(target: NativePath, directory: number, path: NativePath): void {
  const call = "symlinkat";
  check(native.symlinkat(nativePath(target, call), directory, nativePath(path, call)), call, target, path);
}

/** This makes a hard link; a symbolic link in the last place of `from` is linked itself. */
export function linkat(fromDirectory: number, from: NativePath, toDirectory: number, to: NativePath, flags = 0): void {
  const result = native.linkat(fromDirectory, nativePath(from, "linkat"), toDirectory, nativePath(to, "linkat"), flags);
  check(result, "linkat", from, to);
}

/** This makes a device, FIFO, socket or regular file; `mode` holds the S_IF* bits and is subject to the umask. */
export function mknodat(directory: number, path: NativePath, mode: number, device: bigint): void {
  check(native.mknodat(directory, nativePath(path, "mknodat"), mode, device), "mknodat", path);
}

/** This changes the owner, by default of a symbolic link itself. */
export function fchownat(
  directory: number,
  path: NativePath,
  uid: number,
  gid: number,
  flags = AT_SYMLINK_NOFOLLOW,
): void {
  check(native.fchownat(directory, nativePath(path, "fchownat"), uid, gid, flags), "fchownat", path);
}

/**
 * This changes the permission bits and follows a symbolic link in the last place.
 * Linux has no mode on links: make sure that the name is none, or change it through an O_PATH descriptor (`descriptorPath`).
 */
export function fchmodat(directory: number, path: NativePath, mode: number): void {
  check(native.fchmodat(directory, nativePath(path, "fchmodat"), mode, 0), "fchmodat", path);
}

const UTIME_OMIT = 0x3ffffffen;
const BILLION = 1_000_000_000n;
const times = new BigInt64Array(4);

function setTime(at: number, nanoseconds: bigint | undefined): void {
  if (nanoseconds === undefined) {
    times[at] = 0n;
    times[at + 1] = UTIME_OMIT;
    return;
  }
  // the fraction is never negative: −1 ns is second −1 plus 999999999
  const fraction = ((nanoseconds % BILLION) + BILLION) % BILLION;
  times[at] = (nanoseconds - fraction) / BILLION;
  times[at + 1] = fraction;
}

/** This sets times in nanoseconds since 1970, by default of a symbolic link itself; `undefined` leaves one as it is. */
export function utimensat(
  directory: number,
  path: NativePath,
  accessNs: bigint | undefined,
  modifiedNs: bigint | undefined,
  flags = AT_SYMLINK_NOFOLLOW,
): void {
  setTime(0, accessNs);
  setTime(2, modifiedNs);
  check(native.utimensat(directory, nativePath(path, "utimensat"), times, flags), "utimensat", path);
}

/** This renames with RENAME_* flags. */
export function renameat2(
  fromDirectory: number,
  from: NativePath,
  toDirectory: number,
  to: NativePath,
  flags = 0,
): void {
  const call = "renameat2";
  check(
    native.renameat2(fromDirectory, nativePath(from, call), toDirectory, nativePath(to, call), flags),
    call,
    from,
    to,
  );
}

const linkBuffer = new Uint8Array(4096);

/** This returns the bytes that a symbolic link reads; an empty path reads the link that an O_PATH descriptor names. */
export function readlinkat(directory: number, path: NativePath): Uint8Array {
  const call = "readlinkat";
  const length = check(native.readlinkat(directory, nativePath(path, call), linkBuffer, linkBuffer.length), call, path);
  return linkBuffer.slice(0, length);
}

/** This sets the times of a path, of a symbolic link itself, in nanoseconds. */
export function lutimes(path: NativePath, accessNs: bigint | undefined, modifiedNs: bigint | undefined): void {
  utimensat(AT_FDCWD, path, accessNs, modifiedNs);
}

/** This changes the owner of a path, of a symbolic link itself. */
export function lchown(path: NativePath, uid: number, gid: number): void {
  fchownat(AT_FDCWD, path, uid, gid);
}

/**
 * This names a file below a descriptor for calls that only take paths. With `name` a link in the last place is seen as such;
 * without it the file of the descriptor itself is meant, O_PATH descriptors included, by calls that follow links.
 */
export function descriptorPath(descriptor: number, name?: string): string {
  return name === undefined ? `/proc/self/fd/${descriptor}` : `/proc/self/fd/${descriptor}/${name}`;
}
