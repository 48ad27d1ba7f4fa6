import { mkdir, mkdtemp, open, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";

import { internal } from "@berth/errors";

import { debianTool } from "./peers/debian-tools.ts";
import { runProgram } from "./run-program.ts";

/** Text of the files of an image, by path. */
export type ImageFiles = Readonly<Record<string, string>>;

/** This makes an EROFS image of files at `path`. */
export async function makeErofsImage(path: string, files: ImageFiles): Promise<void> {
  await withTree(path, files, (tree) => mustRun(debianTool("mkfs.erofs"), ["--quiet", path, tree]));
}

/** This makes an image of 16 MiB with an ext4 file system of files at `path`. */
export async function makeExt4Image(path: string, files: ImageFiles): Promise<void> {
  await withTree(path, files, async (tree) => {
    await using image = await open(path, "wx");
    await image.truncate(16 * 1024 * 1024);
    await mustRun("mkfs.ext4", ["-q", "-d", tree, path]);
  });
}

async function withTree(path: string, files: ImageFiles, use: (tree: string) => Promise<void>): Promise<void> {
  const tree = await mkdtemp(join(dirname(path), "tree-"));
  try {
    for (const [name, text] of Object.entries(files)) {
      await mkdir(dirname(join(tree, name)), { recursive: true });
      await writeFile(join(tree, name), text);
    }
    await use(tree);
  } finally {
    await rm(tree, { recursive: true });
  }
}

async function mustRun(program: string, args: readonly string[]): Promise<void> {
  const { code, stderr } = await runProgram(program, args, { env: { PATH: `${process.env["PATH"]}:/usr/sbin:/sbin` } });
  if (code !== 0) throw internal(`${program} ${args.join(" ")} ended with ${code}: ${stderr}`);
}
