import { type BigIntStats, lstat as lstatCallback } from "node:fs";
import { readdir } from "node:fs/promises";

import type { CallOptions } from "@berth/core/any";
import type { SnapshotUsage } from "@berth/core/snapshots";
import { systemErrorCode } from "@berth/errors";

import { type BytePath, joinBytes, withShortPath } from "./byte-path.ts";
import { forEachConcurrently } from "./for-each-concurrently.ts";

/** As many as keep the four threads of the pool busy. */
const LANES = 16;
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
 * counts as absent. The work is done in the pool of threads.
 */
export async function diskUsage(path: string, options: CallOptions = {}): Promise<SnapshotUsage> {
  const tally: Tally = { blocks: 0, inodes: 0, seen: new Set() };
  const top = Buffer.from(path);
  if (await count(top, tally)) await measure(top, tally, options);
  return { size: tally.blocks * BLOCK_BYTES, inodes: tally.inodes };
}

async function measure(directory: BytePath, tally: Tally, options: CallOptions): Promise<void> {
  options.signal?.throwIfAborted();
  await withShortPath(directory, async (base) => {
    const names = await readdir(base, { encoding: "buffer" }).catch(ignoreGone);
    const below: BytePath[] = [];
    await forEachConcurrently(names ?? [], LANES, async (name) => {
      const path = joinBytes(base, name);
      if (await count(path, tally)) below.push(path);
    });
    for (const path of below) await measure(path, tally, options);
  });
}

/** This counts one inode and says whether it is a directory. */
async function count(path: BytePath, tally: Tally): Promise<boolean> {
  const stat = await lstat(path);
  if (stat === undefined) return false;
  if (stat.nlink > 1n && !stat.isDirectory()) {
    const identity = `${stat.dev}:${stat.ino}`;
    if (tally.seen.has(identity)) return false;
    tally.seen.add(identity);
  }
  tally.inodes += 1;
  tally.blocks += Number(stat.blocks);
  return stat.isDirectory();
}

/** The callback form costs half of the promise form, and this is called for each file of an image. */
function lstat(path: BytePath): Promise<BigIntStats | undefined> {
  const { promise, resolve, reject } = Promise.withResolvers<BigIntStats | undefined>();
  lstatCallback(path, { bigint: true }, (error, stat) => {
    if (error === null) resolve(stat);
    else if (systemErrorCode(error) === "ENOENT") resolve(undefined);
    else reject(error);
  });
  return promise;
}

function ignoreGone(error: unknown): undefined {
  if (systemErrorCode(error) === "ENOENT") return undefined;
  throw error;
}
