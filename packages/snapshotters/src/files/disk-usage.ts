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

/**
 * This measures a tree as `du` does: the blocks of each inode once, the top directory included. What disappears meanwhile
 * counts as absent. It blocks the thread.
 */
export function diskUsage(path: string, checkpoint: Checkpoint): SnapshotUsage {
  const tally: Tally = { blocks: 0, inodes: 0, seen: new Set() };
  using walk = new DisposableStack();
  const directories: TreePath[] = [];
  walk.defer(() => directories.forEach((directory) => directory[Symbol.dispose]()));
  const top = TreePath.top(path);
  if (count(top.bytes, tally)) directories.push(top);
  for (let next = directories.pop(); next !== undefined; next = directories.pop()) {
    checkpoint();
    using directory = next;
    directory.shorten();
    for (const name of list(directory.bytes)) {
      if (count(joinBytes(directory.bytes, name), tally)) directories.push(directory.child(name));
    }
  }
  return { size: tally.blocks * BLOCK_BYTES, inodes: tally.inodes };
}

/** This counts one inode and says whether it is a directory. */
function count(path: Buffer, tally: Tally): boolean {
  const stat: BigIntStats | undefined = lstatSync(path, { bigint: true, throwIfNoEntry: false });
  if (stat === undefined) return false;
  const isDirectory = stat.isDirectory();
  if (stat.nlink > 1n && !isDirectory) {
    const identity = `${stat.dev}:${stat.ino}`;
    if (tally.seen.has(identity)) return false;
    tally.seen.add(identity);
  }
  tally.inodes += 1;
  tally.blocks += Number(stat.blocks);
  return isDirectory;
}

function list(directory: Buffer): Buffer[] {
  try {
    return readdirSync(directory, { encoding: "buffer" });
  } catch (error) {
    if (errnoName(error) === "ENOENT") return [];
    throw error;
  }
}
