import { mkdir, rmdir, truncate, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";

import { mountTemporary, type TemporaryMount, withTemporaryMount } from "@berth/linux/mount";
import { debianTool, runProgram } from "@berth/testing";

/** This makes a file with an empty ext4 of so many mebibytes, as a scratch file is. */
export async function makeScratch(path: string, mebibytes = 32): Promise<string> {
  await makeImage(path, mebibytes, "mkfs.ext4", ["-q", "-O", "^has_journal", "-m", "0"]);
  await withTemporaryMount([{ type: "ext4", source: path, options: ["loop"] }], {}, (mounted) =>
    rmdir(join(mounted, "lost+found")),
  );
  return path;
}

/** This makes a file with an empty btrfs. */
export async function makeBtrfs(path: string): Promise<void> {
  const mkfs = debianTool("mkfs.btrfs");
  await makeImage(path, 512, mkfs, ["-q"], { LD_LIBRARY_PATH: join(dirname(mkfs), "../lib/x86_64-linux-gnu") });
}

/** This mounts a new btrfs; its file lies in `directory`. */
export async function mountBtrfs(directory: string): Promise<TemporaryMount> {
  const image = join(directory, "btrfs.img");
  await makeBtrfs(image);
  const place = join(directory, "mounts");
  await mkdir(place, { recursive: true });
  return mountTemporary([{ type: "btrfs", source: image, options: ["loop"] }], { directory: place });
}

async function makeImage(
  path: string,
  mebibytes: number,
  program: string,
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<void> {
  await writeFile(path, "");
  await truncate(path, mebibytes * 1024 * 1024);
  const { code, stderr } = await runProgram(program, [...args, path], { env });
  if (code !== 0) throw new Error(`${program} ${path}: ${stderr}`);
}
