import type { Stats } from "node:fs";
import { lstat, readdir, readFile, readlink } from "node:fs/promises";
import { join } from "node:path";

import type { ImageRecipe } from "@berth/testing";

type LayerEntry = ImageRecipe["layers"][number][number];

/** This returns everything below a directory as entries of a layer, in the order of the paths, hard links as such. */
export async function directoryEntries(root: string): Promise<LayerEntry[]> {
  const entries: LayerEntry[] = [];
  const firstOfInode = new Map<number, string>();
  for await (const [path, stat] of walk(root, "")) {
    if (stat.isSocket()) continue;
    const first = stat.isDirectory() ? undefined : firstOfInode.get(stat.ino);
    firstOfInode.set(stat.ino, first ?? path);
    const attributes = { mode: stat.mode & 0o7777, uid: stat.uid, gid: stat.gid, mtime: wholeSeconds(stat) };
    const content =
      first === undefined ? await contentOf(root, path, stat) : ({ path, type: "link", linkPath: first } as const);
    entries.push({ ...attributes, ...content });
  }
  return entries;
}

/** Node's own recursive listing follows links to directories, out of the tree. */
async function* walk(root: string, directory: string): AsyncGenerator<readonly [string, Stats]> {
  for (const name of (await readdir(join(root, directory))).sort()) {
    const path = join(directory, name);
    const stat = await lstat(join(root, path));
    yield [path, stat];
    if (stat.isDirectory()) yield* walk(root, path);
  }
}

async function contentOf(root: string, path: string, stat: Stats): Promise<LayerEntry> {
  if (stat.isDirectory()) return { path: `${path}/`, type: "directory" };
  if (stat.isSymbolicLink()) return { path, type: "symlink", linkPath: await readlink(join(root, path)) };
  if (stat.isFIFO()) return { path, type: "fifo" };
  if (stat.isFile()) {
    const content = await readFile(join(root, path));
    return { path, type: "file", size: content.length, content };
  }
  return { path, type: stat.isBlockDevice() ? "block" : "char", ...deviceNumbers(stat.rdev) };
}

/** Of devices with the small numbers that an image holds. */
function deviceNumbers(rdev: number): { readonly deviceMajor: number; readonly deviceMinor: number } {
  return { deviceMajor: rdev >> 8, deviceMinor: rdev & 0xff };
}

function wholeSeconds({ mtimeMs }: Stats): { readonly seconds: number; readonly nanoseconds: number } {
  return { seconds: Math.floor(mtimeMs / 1000), nanoseconds: 0 };
}
