import { randomUUID } from "node:crypto";
import { readdirSync, renameSync, rmdirSync, unlinkSync } from "node:fs";

import { errnoName } from "./errno-name.ts";
import type { Checkpoint } from "./tree-job.ts";
import { joinBytes } from "./tree-path.ts";

/** Below this a path takes one more name, and its directories one more call on the stack. */
const LONG_PATH_BYTES = 2_000;

/**
 * This removes a tree of any depth and with any names; one that is not there is fine. Links are removed, never followed.
 * It blocks the thread.
 *
 * `fs.rm` cannot do it: it fails on trees deeper than a path may be long and on names that are not UTF-8.
 */
export function removeTree(path: string, checkpoint: Checkpoint): void {
  const top = Buffer.from(path);
  // Directories too deep to be named are moved up to the top first, so that no tree is too deep.
  const moved: Buffer[] = [];
  const remove = (directory: Buffer): void => {
    checkpoint();
    for (const entry of readdirSync(directory, { encoding: "buffer", withFileTypes: true })) {
      const below = joinBytes(directory, entry.name);
      if (!entry.isDirectory()) unlinkSync(below);
      else if (below.length < top.length + LONG_PATH_BYTES) remove(below);
      else moved.push(moveUp(below, top));
    }
    if (directory !== top) rmdirSync(directory);
  };
  try {
    remove(top);
    for (let next = moved.pop(); next !== undefined; next = moved.pop()) remove(next);
    rmdirSync(top);
  } catch (error) {
    if (errnoName(error) === "ENOTDIR") unlinkSync(top);
    else if (errnoName(error) !== "ENOENT") throw error;
  }
}

function moveUp(directory: Buffer, top: Buffer): Buffer {
  const target = joinBytes(top, Buffer.from(randomUUID()));
  renameSync(directory, target);
  return target;
}
