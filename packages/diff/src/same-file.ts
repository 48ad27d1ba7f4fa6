import { type BigIntStats, readSync } from "node:fs";

import { closeFd } from "@berth/linux/files";

import type { TreeDirectory } from "./tree-directory.ts";

/** A name in a directory, and what it is. */
export interface TreeFile {
  readonly directory: TreeDirectory;
  readonly name: string;
  readonly stat: BigIntStats;
}

/** Files with capabilities differ where these do, whatever else is the same. */
export const CAPABILITY_XATTR = "security.capability";
const COMPARE_BYTES = 1 << 18;
const NANOSECONDS = 1_000_000_000n;

/**
 * This says whether two files are one for a layer: of the same type, mode, owner, device, capabilities, size and time. A time
 * without a fraction of a second may have been cut on its way through an archive: then the content decides. Of directories neither
 * time nor content count.
 *
 * @see containerd continuity fs/diff.go, sameFile
 */
export function isSameFile(one: TreeFile, other: TreeFile): boolean {
  const a = one.stat;
  const b = other.stat;
  if (a.ino === b.ino && a.dev === b.dev) return true;
  if (a.mode !== b.mode || a.uid !== b.uid || a.gid !== b.gid || a.rdev !== b.rdev) return false;
  if (!isSameCapability(one, other)) return false;
  if (a.isDirectory()) return true;
  if (a.size !== b.size || a.mtimeNs !== b.mtimeNs) return false;
  if (a.mtimeNs % NANOSECONDS !== 0n) return true;
  if (a.isSymbolicLink()) {
    return Buffer.compare(one.directory.readLink(one.name), other.directory.readLink(other.name)) === 0;
  }
  return !a.isFile() || a.size === 0n || isSameContent(one, other);
}

function isSameCapability(one: TreeFile, other: TreeFile): boolean {
  if (!one.stat.isFile() && !one.stat.isDirectory()) return true;
  const a = one.directory.xattr(CAPABILITY_XATTR, one.name);
  const b = other.directory.xattr(CAPABILITY_XATTR, other.name);
  return a === undefined || b === undefined ? a === b : Buffer.compare(a, b) === 0;
}

function isSameContent(one: TreeFile, other: TreeFile): boolean {
  using closing = new DisposableStack();
  const [a, b] = [one, other].map(({ directory, name }) => {
    const fd = directory.openFile(name);
    if (fd !== undefined) closing.defer(() => closeFd(fd));
    return fd;
  });
  // Gone meanwhile: it has changed.
  if (a === undefined || b === undefined) return false;
  const [bytesA, bytesB] = [Buffer.allocUnsafe(COMPARE_BYTES), Buffer.allocUnsafe(COMPARE_BYTES)];
  for (;;) {
    const length = fill(a, bytesA);
    if (fill(b, bytesB) !== length) return false;
    if (bytesA.compare(bytesB, 0, length, 0, length) !== 0) return false;
    if (length < COMPARE_BYTES) return true;
  }
}

/** Reads until the buffer is full or the file ends. */
function fill(fd: number, buffer: Uint8Array): number {
  let filled = 0;
  while (filled < buffer.length) {
    const length = readSync(fd, buffer, filled, buffer.length - filled, null);
    if (length === 0) break;
    filled += length;
  }
  return filled;
}
