import { type BigIntStats, constants } from "node:fs";
import { chmod, copyFile, link, lstat, mkdir, readdir, readlink, symlink } from "node:fs/promises";

import type { CallOptions } from "@berth/core/any";
import { AT_FDCWD, lchown, lgetxattr, llistxattr, lsetxattr, lutimes, mknodat } from "@berth/linux/files";

import { type BytePath, joinBytes, withShortPath } from "./byte-path.ts";
import { forEachConcurrently } from "./for-each-concurrently.ts";

const LANES = 8;
const S_IFMT = 0o170000;

/** Copies of inodes with several names, so that the copies share one inode too. */
type Links = Map<string, BytePath>;

/**
 * This copies the content of one directory into another, which exists: owner, mode, times (ns), extended attributes, devices,
 * FIFOs, sockets, hard and symbolic links; the attributes of the directory itself too. Files share blocks where they can.
 *
 * Attributes that the target file system refuses are left out, as in containerd. The work is done in the pool of threads.
 */
export async function copyTree(from: string, to: string, options: CallOptions = {}): Promise<void> {
  const [source, target] = [Buffer.from(from), Buffer.from(to)];
  const stat = await lstat(source, { bigint: true });
  await copyDirectory(source, target, new Map(), options);
  await copyAttributes(source, target, stat);
}

async function copyDirectory(source: BytePath, target: BytePath, links: Links, options: CallOptions): Promise<void> {
  options.signal?.throwIfAborted();
  await withShortPath(source, (from) =>
    withShortPath(target, async (to) => {
      const names = await readdir(from, { encoding: "buffer" });
      const later: (() => Promise<void>)[] = [];
      await forEachConcurrently(names, LANES, async (name) => {
        const entry = { source: joinBytes(from, name), target: joinBytes(to, name), final: joinBytes(target, name) };
        const stat = await lstat(entry.source, { bigint: true });
        const first = stat.isDirectory() || stat.nlink === 1n ? undefined : links.get(identity(stat));
        if (stat.isDirectory()) later.push(() => copySubdirectory(entry.source, entry.target, stat, links, options));
        else if (first === undefined) {
          if (stat.nlink > 1n) links.set(identity(stat), entry.final);
          await copyEntry(entry.source, entry.target, stat);
        } else later.push(() => link(first, entry.target));
      });
      // One after the other: the depth of concurrency is that of one directory, and the first name of an inode is there.
      for (const step of later) await step();
    }),
  );
}

async function copySubdirectory(
  source: BytePath,
  target: BytePath,
  stat: BigIntStats,
  links: Links,
  options: CallOptions,
): Promise<void> {
  await mkdir(target, { mode: 0o700 });
  await copyDirectory(source, target, links, options);
  // After the content, which changes the times.
  await copyAttributes(source, target, stat);
}

async function copyEntry(source: BytePath, target: BytePath, stat: BigIntStats): Promise<void> {
  if (stat.isFile()) await copyFile(source, target, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
  else if (stat.isSymbolicLink()) await symlink(await readlink(source, { encoding: "buffer" }), target);
  else mknodat(AT_FDCWD, target, Number(stat.mode), stat.rdev);
  await copyAttributes(source, target, stat);
}

/** In this order: a change of the owner clears set-uid bits and capabilities, and all of it changes times. */
async function copyAttributes(source: BytePath, target: BytePath, stat: BigIntStats): Promise<void> {
  lchown(target, Number(stat.uid), Number(stat.gid));
  copyExtendedAttributes(source, target);
  if (!stat.isSymbolicLink()) await chmod(target, Number(stat.mode) & ~S_IFMT);
  lutimes(target, stat.atimeNs, stat.mtimeNs);
}

function copyExtendedAttributes(source: BytePath, target: BytePath): void {
  try {
    for (const name of llistxattr(source)) lsetxattr(target, name, lgetxattr(source, name));
  } catch {
    // Left out, see copyTree.
  }
}

function identity(stat: BigIntStats): string {
  return `${stat.dev}:${stat.ino}`;
}
