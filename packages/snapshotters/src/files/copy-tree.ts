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

import { errnoName } from "./errno-name.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { joinBytes, TreePath } from "./tree-path.ts";

/** What says nothing about an attribute, but that the copy would have less than was written. */
const FAILURES: ReadonlySet<string | undefined> = new Set(["ENOSPC", "EDQUOT", "EIO", "ENOMEM"]);

const S_IFMT = 0o170000;

/** One directory on its way, with the path of its copy in full. */
interface Directory extends Disposable {
  readonly source: TreePath;
  readonly target: TreePath;
  readonly full: Buffer;
  readonly stat: BigIntStats;
  /** Its content is there; only its attributes are missing, since adding content changes times. */
  readonly filled: boolean;
}

/** First copies of inodes with several names, so that the others become links of them. */
type Links = Map<string, Buffer>;

/**
 * This copies the content of one directory into another, which exists: owner, mode, times (ns), extended attributes, devices,
 * FIFOs, sockets, hard and symbolic links; the attributes of the directory itself too. Files share blocks where they can.
 *
 * Extended attributes that the target refuses are left out, each by itself, as in containerd; one for which there is no room is not. It
 * blocks the thread.
 */
export function copyTree(from: string, to: string, checkpoint: Checkpoint): void {
  const links: Links = new Map();
  const waiting: Directory[] = [];
  using walk = new DisposableStack();
  walk.defer(() => waiting.forEach((directory) => directory[Symbol.dispose]()));
  waiting.push(visit(TreePath.top(from), TreePath.top(to), Buffer.from(to), lstatSync(from, { bigint: true })));
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    checkpoint();
    if (next.filled) {
      using done = next;
      copyAttributes(done.source.bytes, done.target.bytes, done.stat);
    } else {
      // Below the directories that it holds, so that it comes after them.
      waiting.push({ ...next, filled: true });
      fill(next, links, waiting);
    }
  }
}

function visit(source: TreePath, target: TreePath, full: Buffer, stat: BigIntStats): Directory {
  const dispose = (): void => {
    source[Symbol.dispose]();
    target[Symbol.dispose]();
  };
  return { source, target, full, stat, filled: false, [Symbol.dispose]: dispose };
}

function fill({ source, target, full }: Directory, links: Links, waiting: Directory[]): void {
  source.shorten();
  target.shorten();
  for (const name of readdirSync(source.bytes, { encoding: "buffer" })) {
    const [from, to] = [joinBytes(source.bytes, name), joinBytes(target.bytes, name)];
    const stat = lstatSync(from, { bigint: true });
    if (stat.isDirectory()) {
      mkdirSync(to, { mode: 0o700 });
      waiting.push(visit(source.child(name), target.child(name), joinBytes(full, name), stat));
    } else if (!linkToFirst(to, stat, links)) {
      copyLeaf(from, to, stat);
      copyAttributes(from, to, stat);
      if (stat.nlink > 1n) links.set(identity(stat), joinBytes(full, name));
    }
  }
}

/** This makes a further name of an inode that was copied; false when there is none, or it is too deep to be named. */
function linkToFirst(target: Buffer, stat: BigIntStats, links: Links): boolean {
  const first = stat.nlink > 1n ? links.get(identity(stat)) : undefined;
  if (first === undefined) return false;
  try {
    linkSync(first, target);
    return true;
  } catch (error) {
    if (errnoName(error) !== "ENAMETOOLONG") throw error;
    return false;
  }
}

function identity(stat: BigIntStats): string {
  return `${stat.dev}:${stat.ino}`;
}

function copyLeaf(source: Buffer, target: Buffer, stat: BigIntStats): void {
  if (stat.isFile()) copyFileSync(source, target, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
  else if (stat.isSymbolicLink()) symlinkSync(readlinkSync(source, { encoding: "buffer" }), target);
  else mknodat(AT_FDCWD, target, Number(stat.mode), stat.rdev);
}

/** In this order: a change of the owner clears set-uid bits and capabilities, and all of it changes times. */
function copyAttributes(source: Buffer, target: Buffer, stat: BigIntStats): void {
  lchown(target, Number(stat.uid), Number(stat.gid));
  copyExtendedAttributes(source, target);
  if (!stat.isSymbolicLink()) chmodSync(target, Number(stat.mode) & ~S_IFMT);
  lutimes(target, stat.atimeNs, stat.mtimeNs);
}

function copyExtendedAttributes(source: Buffer, target: Buffer): void {
  const names: string[] = [];
  unlessRefused(() => names.push(...llistxattr(source)));
  for (const name of names) unlessRefused(() => lsetxattr(target, name, lgetxattr(source, name)));
}

function unlessRefused(run: () => void): void {
  try {
    run();
  } catch (error) {
    if (FAILURES.has(errnoName(error))) throw error;
  }
}
