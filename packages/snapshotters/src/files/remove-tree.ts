import { readdirSync, rmdirSync, unlinkSync } from "node:fs";

import { type BytePath, joinBytes, withShortPath } from "./byte-path.ts";
import { errnoName } from "./errno-name.ts";
import type { Checkpoint } from "./tree-job.ts";

/**
 * This removes a tree of any depth and with any names; one that is not there is fine. Links are removed, never followed.
 * It blocks the thread.
 *
 * `fs.rm` cannot do it: it fails on trees deeper than a path may be long and on names that are not UTF-8.
 */
export function removeTree(path: string, checkpoint: Checkpoint): void {
  const bytes = Buffer.from(path);
  try {
    removeDirectory(bytes, checkpoint);
  } catch (error) {
    if (errnoName(error) === "ENOTDIR") unlinkSync(bytes);
    else if (errnoName(error) !== "ENOENT") throw error;
  }
}

function removeDirectory(directory: BytePath, checkpoint: Checkpoint): void {
  checkpoint();
  withShortPath(directory, (base) => {
    for (const entry of readdirSync(base, { encoding: "buffer", withFileTypes: true })) {
      const path = joinBytes(base, entry.name);
      if (entry.isDirectory()) removeDirectory(path, checkpoint);
      else unlinkSync(path);
    }
  });
  rmdirSync(directory);
}
