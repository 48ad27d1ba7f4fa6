import { type BigIntStats, lstatSync, readdirSync } from "node:fs";

import type { SnapshotUsage } from "@berth/core/snapshots";
import { errnoName } from "./errno-name.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { joinBytes, TreePath } from "./tree-path.ts";

/** `st_blocks` counts these, whatever the file system. */
const BLOCK_BYTES = 512;

interface Tally {
  blocks: number;
  inodes: number;
  /** Inodes with several names that were counted. */
  readonly seen: Set<string>;
}

/** A directory on its way, and the one in its place in the tree that it is compared with, where there is one. */
interface Directory extends Disposable {
  readonly path: TreePath;
  readonly base: TreePath | undefined;
}

/**
 * This measures a tree as `du` does: the blocks of each inode once, the top directory included. What disappears meanwhile
 * counts as absent. It blocks the thread.
 *
 * With `base`, a tree that this one was a snapshot of (same inode numbers and times), only what has changed since counts.
 */
export function diskUsage(path: string, base: string | undefined, checkpoint: Checkpoint): SnapshotUsage {
  const tally: Tally = { blocks: 0, inodes: 0, seen: new Set() };
  using walk = new DisposableStack();
  const waiting: Directory[] = [];
  walk.defer(() => waiting.forEach((directory) => directory[Symbol.dispose]()));
  const top = visit(TreePath.top(path), base === undefined ? undefined : TreePath.top(base));
  if (count(top.path.bytes, top.base?.bytes, tally)) waiting.push(top);
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    checkpoint();
    using directory = next;
    directory.path.shorten();
    shortenIfThere(directory.base);
    for (const name of list(directory.path.bytes)) {
      const below = directory.base && joinBytes(directory.base.bytes, name);
      if (!count(joinBytes(directory.path.bytes, name), below, tally)) continue;
      waiting.push(visit(directory.path.child(name), directory.base?.child(name)));
    }
  }
  return { size: tally.blocks * BLOCK_BYTES, inodes: tally.inodes };
}

function visit(path: TreePath, base: TreePath | undefined): Directory {
  const dispose = (): void => {
    path[Symbol.dispose]();
    base?.[Symbol.dispose]();
  };
  return { path, base, [Symbol.dispose]: dispose };
}

/** The base need not have this directory; its names are then not found either. */
function shortenIfThere(base: TreePath | undefined): void {
  try {
    base?.shorten();
  } catch (error) {
    if (!isAbsence(error)) throw error;
  }
}

/** This counts one inode and says whether it is a directory. */
function count(path: Buffer, base: Buffer | undefined, tally: Tally): boolean {
  const stat = find(path);
  if (stat === undefined) return false;
  const isDirectory = stat.isDirectory();
  if (base !== undefined && isUnchanged(stat, find(base))) return isDirectory;
  if (stat.nlink > 1n && !isDirectory) {
    const identity = `${stat.dev}:${stat.ino}`;
    if (tally.seen.has(identity)) return false;
    tally.seen.add(identity);
  }
  tally.inodes += 1;
  tally.blocks += Number(stat.blocks);
  return isDirectory;
}

/** The time of the last change of an inode cannot be set back. */
function isUnchanged(stat: BigIntStats, before: BigIntStats | undefined): boolean {
  return (
    before !== undefined && stat.ino === before.ino && stat.ctimeNs === before.ctimeNs && stat.size === before.size
  );
}

function find(path: Buffer): BigIntStats | undefined {
  try {
    return lstatSync(path, { bigint: true });
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw error;
  }
}

function list(directory: Buffer): Buffer[] {
  try {
    return readdirSync(directory, { encoding: "buffer" });
  } catch (error) {
    if (isAbsence(error)) return [];
    throw error;
  }
}

function isAbsence(error: unknown): boolean {
  const name = errnoName(error);
  return name === "ENOENT" || name === "ENOTDIR" || name === "ENAMETOOLONG";
}
