import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { lstat, readdir, readlink } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";

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
  const paths = ["", ...(await readdir(root, { recursive: true })).sort()];
  for (const path of paths) {
    const full = join(root, path);
    const stat = await lstat(full, { bigint: true });
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

async function hashFile(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash);
  return hash.digest("hex");
}
