import { mkdir, stat } from "node:fs/promises";
import { dirname } from "node:path";

import { systemErrorCode } from "@berth/errors";

/**
 * This makes a directory and its missing parents, and returns the first one that it made, if any; what is there keeps its mode.
 *
 * Where a file system refuses every new name as missing (/proc does), this fails; Node's own recursive `mkdir` tries for ever there.
 *
 * @throws whatever the file system says, as it says it
 */
export async function makeDirectories(path: string, mode = 0o777): Promise<string | undefined> {
  try {
    return await makeOne(path, mode);
  } catch (error) {
    const above = dirname(path);
    if (systemErrorCode(error) !== "ENOENT" || above === path) throw error;
    const first = await makeDirectories(above, mode);
    // once: with its parent there, a name that is still missing cannot be made
    const made = await makeOne(path, mode);
    return first ?? made;
  }
}

async function makeOne(path: string, mode: number): Promise<string | undefined> {
  try {
    await mkdir(path, { mode });
    return path;
  } catch (error) {
    // A directory that is there is enough, also on a file system that is read-only.
    if (systemErrorCode(error) !== "ENOENT" && (await isDirectory(path))) return undefined;
    throw error;
  }
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch {
    return false;
  }
}
