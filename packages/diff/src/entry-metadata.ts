import { chmodSync, constants, fchmodSync, fchownSync, fstatSync } from "node:fs";

import type { TarHeader, TarTime } from "@berth/archive";
import { invalidArgument, systemErrorCode } from "@berth/errors";
import { closeFd, descriptorPath, fchownat, lsetxattr, openat2, O_PATH, utimensat } from "@berth/linux/files";

import { type OpenDirectory, pathIn } from "./layer-root.ts";
import { printable, toNative } from "./native-name.ts";

/** What could not be applied and does not matter enough to fail. */
export interface Warning {
  readonly message: string;
  readonly path: string;
  readonly xattr: string;
}

/** Takes warnings. */
export type Warn = (warning: Warning) => void;

/** Access and modification time in nanoseconds. */
export interface EntryTimes {
  readonly access: bigint;
  readonly modified: bigint;
}

const MAX_ID = 0xffff_fffe;
/** What fits 63 bits of nanoseconds. */
const MAX_SECONDS = 9_223_372_036;

/**
 * This checks the owner of an entry.
 *
 * @throws invalid_argument - an id of 2^32 - 1, which system calls take for "leave as it is", or above
 */
export function checkOwner(header: TarHeader): void {
  if (header.uid > MAX_ID || header.gid > MAX_ID) {
    throw invalidArgument(`owner ${header.uid}:${header.gid} of ${printable(header.path)} is out of range`);
  }
}

/** This gives the times to set: what lies before 1970 or beyond the year 2262 becomes 1970. */
export function entryTimes(header: TarHeader): EntryTimes {
  const modified = nanoseconds(header.mtime);
  const access = header.atime === undefined ? modified : nanoseconds(header.atime);
  return { access: access > modified ? access : modified, modified };
}

function nanoseconds(time: TarTime): bigint {
  if (time.seconds < 0 || time.seconds >= MAX_SECONDS) return 0n;
  return BigInt(time.seconds) * 1_000_000_000n + BigInt(time.nanoseconds);
}

/** This applies owner, extended attributes and mode, in that order: each of them may clear what comes after. */
export function applyToDescriptor(fd: number, header: TarHeader, warn: Warn): void {
  fchownSync(fd, header.uid, header.gid);
  if (header.xattrs.size > 0) applyXattrs(fd, header, warn);
  fchmodSync(fd, header.mode);
}

/** This applies owner, extended attributes, mode and times to a name that is no file or directory; a link is never followed. */
export function applyToName(directory: OpenDirectory, base: string, header: TarHeader, warn: Warn): void {
  const name = toNative(base);
  fchownat(directory.fd, name, header.uid, header.gid);
  if (header.xattrs.size > 0) applyXattrs(pathIn(directory, base), header, warn);
  if (header.type !== "symlink") applyMode(directory.fd, name, header.mode);
  const { access, modified } = entryTimes(header);
  utimensat(directory.fd, name, access, modified);
}

function applyMode(directory: number, name: string | Buffer, mode: number): void {
  const fd = openat2(directory, name, { flags: O_PATH | constants.O_NOFOLLOW });
  try {
    if (!fstatSync(fd).isSymbolicLink()) chmodSync(descriptorPath(fd), mode);
  } finally {
    closeFd(fd);
  }
}

function applyXattrs(subject: number | string | Uint8Array, header: TarHeader, warn: Warn): void {
  for (const [name, value] of header.xattrs) {
    const skipped = (message: string): void => warn({ message, path: header.path, xattr: name });
    // Marks for the kernel on this host (overlayfs among them), which are not an image's to set.
    if (name.startsWith("trusted.")) skipped("ignored trusted xattr in archive");
    else if (name.startsWith("user.overlay.")) skipped("ignored overlay xattr in archive");
    else {
      try {
        lsetxattr(subject, name, value);
      } catch (error) {
        const code = systemErrorCode(error);
        if (code === "EOPNOTSUPP" || code === "ENOTSUP") skipped("ignored xattr that the file system does not support");
        // The kernel has user attributes on files and directories only.
        else if (!(code === "EPERM" && name.startsWith("user.") && isSpecial(header))) throw error;
      }
    }
  }
}

function isSpecial({ type }: TarHeader): boolean {
  return type !== "file" && type !== "directory";
}
