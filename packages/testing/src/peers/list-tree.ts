import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { lstat, readdir, readlink } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";

import { systemErrorCode } from "@berth/errors";

/** One file as a comparison sees it: type and mode, owner, time in nanoseconds, links, device, content. */
export type TreeEntry = Readonly<Record<string, string | number | bigint>>;

/**
 * This describes everything below `root`, by relative path, so that two trees are equal when these are. Hard links show as
 * the first path of their inode. Extended attributes are added by `attributes`.
 */
export async function listTree(
  root: string,
  attributes: (path: string) => Readonly<Record<string, string>> = () => ({}),
): Promise<ReadonlyMap<string, TreeEntry>> {
  const tree = new Map<string, TreeEntry>();
  const firstOfInode = new Map<bigint, string>();
  for (const path of ["", ...(await pathsBelow(root)).sort()]) {
    const full = join(root, path);
    const stat = await lstat(full, { bigint: true }).catch(notThere);
    if (stat === undefined) continue;
    const first = firstOfInode.get(stat.ino) ?? path;
    firstOfInode.set(stat.ino, first);
    const content = stat.isFile() ? await hashFile(full) : stat.isSymbolicLink() ? await readlink(full) : "";
    tree.set(path, {
      mode: stat.mode.toString(8),
      owner: `${stat.uid}:${stat.gid}`,
      mtimeNs: stat.mtimeNs,
      device: stat.rdev,
      content,
      ...(stat.isDirectory() ? {} : { linkedTo: first }),
      ...attributes(full),
    });
  }
  return tree;
}

/** overlayfs lists a whiteout in a directory that the layers below do not have, and has no such file. */
function notThere(error: unknown): undefined {
  if (systemErrorCode(error) !== "ENOENT") throw error;
}

/** Links are not followed, which the recursive listing of Node does. */
async function pathsBelow(root: string, path = ""): Promise<string[]> {
  const paths: string[] = [];
  for (const entry of await readdir(join(root, path), { withFileTypes: true })) {
    const below = join(path, entry.name);
    paths.push(below, ...(entry.isDirectory() ? await pathsBelow(root, below) : []));
  }
  return paths;
}

async function hashFile(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash);
  return hash.digest("hex");
}
