import { AT_FDCWD, type NativePath } from "../libc.ts";
import { mknodat } from "./at-calls.ts";

/** This packs a device number as glibc does: 12 + 20 bits of the major and minor number split over 64 bits. */
export function makedev(major: number, minor: number): bigint {
  const high = BigInt(major);
  const low = BigInt(minor);
  return ((high & 0xfffff000n) << 32n) | ((high & 0xfffn) << 8n) | ((low & 0xffffff00n) << 12n) | (low & 0xffn);
}

/** This returns the major number of a device number (`rdev` of `fs.Stats`). */
export function major(device: bigint | number): number {
  const value = BigInt(device);
  return Number(((value >> 32n) & 0xfffff000n) | ((value >> 8n) & 0xfffn));
}

/** This returns the minor number of a device number. */
export function minor(device: bigint | number): number {
  const value = BigInt(device);
  return Number(((value >> 12n) & 0xffffff00n) | (value & 0xffn));
}

const S_IFIFO = 0o010000;

/** This makes a device node; `mode` holds S_IFCHR or S_IFBLK and the permission bits, subject to the umask. */
export function mknod(path: NativePath, mode: number, majorNumber: number, minorNumber: number): void {
  mknodat(AT_FDCWD, path, mode, makedev(majorNumber, minorNumber));
}

/** This makes a FIFO; the mode is subject to the umask. */
export function mkfifo(path: NativePath, mode: number): void {
  mknodat(AT_FDCWD, path, S_IFIFO | (mode & 0o7777), 0n);
}
