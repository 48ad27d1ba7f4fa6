import {
  type BigIntStats,
  chmodSync,
  constants,
  copyFileSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  symlinkSync,
} from "node:fs";

import { AT_FDCWD, lchown, lgetxattr, llistxattr, lsetxattr, lutimes, mknodat } from "@berth/linux/files";

import { type BytePath, joinBytes, withShortPath } from "./byte-path.ts";
import type { Checkpoint } from "./tree-job.ts";

const S_IFMT = 0o170000;

/** What one copy has in hand. */
interface Copy {
  readonly checkpoint: Checkpoint;
  /** Copies of inodes with several names, so that the copies share one inode too. */
  readonly links: Map<string, BytePath>;
}

/**
 * This copies the content of one directory into another, which exists: owner, mode, times (ns), extended attributes, devices,
 * FIFOs, sockets, hard and symbolic links; the attributes of the directory itself too. Files share blocks where they can.
 *
 * Extended attributes that the target refuses are left out, as in containerd. It blocks the thread.
 */
export function copyTree(from: string, to: string, checkpoint: Checkpoint): void {
  const [source, target] = [Buffer.from(from), Buffer.from(to)];
  copyDirectory(source, target, { checkpoint, links: new Map() });
  copyAttributes(source, target, lstatSync(source, { bigint: true }));
}

function copyDirectory(source: BytePath, target: BytePath, copy: Copy): void {
  copy.checkpoint();
  withShortPath(source, (from) =>
    withShortPath(target, (to) => {
      for (const name of readdirSync(from, { encoding: "buffer" })) {
        copyEntry(joinBytes(from, name), joinBytes(to, name), joinBytes(target, name), copy);
      }
    }),
  );
}

/** @param final - a path of the copy that stays valid after this call */
function copyEntry(source: BytePath, target: BytePath, final: BytePath, copy: Copy): void {
  const stat = lstatSync(source, { bigint: true });
  if (stat.isDirectory()) {
    mkdirSync(target, { mode: 0o700 });
    copyDirectory(source, target, copy);
  } else {
    const inode = `${stat.dev}:${stat.ino}`;
    const first = stat.nlink > 1n ? copy.links.get(inode) : undefined;
    if (first !== undefined) return linkSync(first, target);
    if (stat.nlink > 1n) copy.links.set(inode, final);
    copyLeaf(source, target, stat);
  }
  // After the content of a directory, which changes its times.
  copyAttributes(source, target, stat);
}

function copyLeaf(source: BytePath, target: BytePath, stat: BigIntStats): void {
  if (stat.isFile()) copyFileSync(source, target, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
  else if (stat.isSymbolicLink()) symlinkSync(readlinkSync(source, { encoding: "buffer" }), target);
  else mknodat(AT_FDCWD, target, Number(stat.mode), stat.rdev);
}

/** In this order: a change of the owner clears set-uid bits and capabilities, and all of it changes times. */
function copyAttributes(source: BytePath, target: BytePath, stat: BigIntStats): void {
  lchown(target, Number(stat.uid), Number(stat.gid));
  copyExtendedAttributes(source, target);
  if (!stat.isSymbolicLink()) chmodSync(target, Number(stat.mode) & ~S_IFMT);
  lutimes(target, stat.atimeNs, stat.mtimeNs);
}

function copyExtendedAttributes(source: BytePath, target: BytePath): void {
  try {
    for (const name of llistxattr(source)) lsetxattr(target, name, lgetxattr(source, name));
  } catch {
    // Left out, see copyTree.
  }
}
