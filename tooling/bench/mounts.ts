import { mkdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { runProgram } from "@berth/testing";

import { mustRun } from "./must-run.ts";

const DISK_SIZE_BYTES = 16 * 2 ** 30;
const UNMOUNT_DEADLINE_MS = 5000;

/** A mounted directory. Disposing it unmounts everything at and below it. */
export interface MountedDirectory extends AsyncDisposable {
  readonly path: string;
}

/**
 * This mounts a freshly made ext4 at `<directory>/<name>`, from a sparse file that is removed with it. A new one for each run:
 * an ext4 that has seen deletions is slower, and by how much depends on what went before.
 */
export async function mountFreshDisk(directory: string, name: string): Promise<MountedDirectory> {
  await using undo = new AsyncDisposableStack();
  const file = join(directory, `${name}.ext4`);
  const path = join(directory, name);
  await writeFile(file, "");
  undo.defer(() => rm(file, { force: true }));
  await truncate(file, DISK_SIZE_BYTES);
  // Left to later, the kernel would initialize inode tables and journal while something is being measured.
  await mustRun("mkfs.ext4", ["-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", file]);
  await mkdir(path, { recursive: true });
  await mustRun("mount", ["-t", "ext4", "-o", "loop,noatime", file, path]);
  undo.defer(() => unmountBelow(path));
  const owned = undo.move();
  return { path, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** This mounts a tmpfs, as `/run` is one where a daemon's state usually is. */
export async function mountMemory(path: string): Promise<MountedDirectory> {
  await mkdir(path, { recursive: true });
  await mustRun("mount", ["-t", "tmpfs", "-o", "mode=0711", "tmpfs", path]);
  return { path, [Symbol.asyncDispose]: () => unmountBelow(path) };
}

async function unmountBelow(directory: string): Promise<void> {
  for (const path of await mountsBelow(directory)) await unmount(path);
}

/** What is still busy after a while is detached: it goes when its last user does. */
async function unmount(path: string): Promise<void> {
  const deadline = Date.now() + UNMOUNT_DEADLINE_MS;
  while ((await runProgram("umount", [path])).code !== 0) {
    if (Date.now() > deadline) {
      await runProgram("umount", ["-l", path]);
      return;
    }
    await sleep(100);
  }
}

/** Mount points at and below a directory, the innermost first. */
async function mountsBelow(directory: string): Promise<string[]> {
  const table = await readFile("/proc/self/mountinfo", "utf8");
  const points = table.split("\n").map((line) => line.split(" ")[4] ?? "");
  return points.filter((point) => point === directory || point.startsWith(`${directory}/`)).toReversed();
}
