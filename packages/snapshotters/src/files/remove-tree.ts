import { readdir, rmdir, unlink } from "node:fs/promises";

import type { CallOptions } from "@berth/core/any";
import { systemErrorCode } from "@berth/errors";

import { type BytePath, joinBytes, withShortPath } from "./byte-path.ts";
import { forEachConcurrently } from "./for-each-concurrently.ts";

const LANES = 8;

/**
 * This removes a tree of any depth and with any names; one that is not there is fine. Links are removed, never followed.
 *
 * `fs.rm` cannot do it: it fails on trees deeper than a path may be long and on names that are not UTF-8.
 */
export async function removeTree(path: string | BytePath, options: CallOptions = {}): Promise<void> {
  const bytes = Buffer.from(path);
  try {
    await removeDirectory(bytes, options);
  } catch (error) {
    if (systemErrorCode(error) === "ENOTDIR") await unlink(bytes);
    else if (systemErrorCode(error) !== "ENOENT") throw error;
  }
}

async function removeDirectory(directory: BytePath, options: CallOptions): Promise<void> {
  options.signal?.throwIfAborted();
  await withShortPath(directory, async (base) => {
    const entries = await readdir(base, { encoding: "buffer", withFileTypes: true });
    await forEachConcurrently(entries, LANES, async (entry) => {
      if (!entry.isDirectory()) await unlink(joinBytes(base, entry.name));
    });
    for (const entry of entries) if (entry.isDirectory()) await removeDirectory(joinBytes(base, entry.name), options);
  });
  await rmdir(directory);
}
