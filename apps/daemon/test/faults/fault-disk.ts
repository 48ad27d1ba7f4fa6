import { closeSync, openSync } from "node:fs";
import { mkdir, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { internal } from "@berth/errors";
import { shutdownFileSystem, type ShutdownMode } from "@berth/linux/files";
import { findLoopDevices, mountAll, readMountInfo, unmount } from "@berth/linux/mount";
import { debianLibraries, debianTool, runProgram, temporaryDirectory } from "@berth/testing";

const MIB = 1024 ** 2;
const DETACH_DEADLINE_MS = 20_000;

/** File systems that a root may be on. All but btrfs can lose their power. */
export type FaultFileSystem = "ext4" | "xfs" | "btrfs";

/** What {@link faultDisk} makes. */
export interface FaultDiskOptions {
  readonly type: FaultFileSystem;
  readonly sizeBytes?: number;
  /** No more files than this; ext4 only. */
  readonly inodes?: number;
}

/** A file system of its own, on a loop device. Disposing it unmounts it. */
export interface FaultDisk extends AsyncDisposable {
  /** Where it is mounted. */
  readonly path: string;
  /** The file behind it. */
  readonly image: string;
  /** From now on nothing more reaches the disk. */
  cutPower(mode: ShutdownMode): void;
  /** This unmounts it, with everything that is mounted on it, and mounts it again: its journal is replayed. */
  remount(): Promise<void>;
}

/** This makes a file system and mounts it. */
export async function faultDisk(options: FaultDiskOptions): Promise<FaultDisk> {
  await using stack = new AsyncDisposableStack();
  const directory = stack.use(await temporaryDirectory("disk"));
  const image = join(directory.path, "image");
  const path = join(directory.path, "mounted");
  await mkdir(path);
  await makeFileSystem(image, options);
  const mount = (): Promise<void> =>
    mountAll([{ type: options.type, source: image, target: "", options: ["loop", "noatime"] }], path);
  await mount();
  stack.defer(() => unmountBelow(path));
  const owned = stack.move();
  return {
    path,
    image,
    cutPower(mode) {
      const descriptor = openSync(path, "r");
      try {
        shutdownFileSystem(descriptor, mode);
      } finally {
        closeSync(descriptor);
      }
    },
    async remount() {
      await unmountBelow(path);
      await untilDetached(image);
      await mount();
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** A namespace of mounts that somebody made meanwhile has it mounted too, and mounting it again would give what has no power. */
async function untilDetached(image: string): Promise<void> {
  for (const deadline = Date.now() + DETACH_DEADLINE_MS; findLoopDevices(image).length > 0; await sleep(20)) {
    if (Date.now() > deadline) throw internal(`${image} stays mounted elsewhere`);
  }
}

/** The deepest first. No path may be looked up: xfs without power answers nothing but EIO. */
async function unmountBelow(path: string): Promise<void> {
  const below = readMountInfo().filter(({ mountPoint }) => mountPoint === path || mountPoint.startsWith(`${path}/`));
  for (const { mountPoint } of below.toReversed()) await unmount(mountPoint);
}

async function makeFileSystem(image: string, { type, sizeBytes, inodes }: FaultDiskOptions): Promise<void> {
  await writeFile(image, "");
  // mkfs.xfs makes none that is smaller than 300 MB.
  await truncate(image, sizeBytes ?? (type === "xfs" ? 320 : 256) * MIB);
  const [program, args] =
    type === "ext4"
      ? ["mkfs.ext4", ["-q", "-F", ...(inodes === undefined ? [] : ["-N", String(inodes)]), image]]
      : [debianTool(`mkfs.${type}`), ["-q", image]];
  const { code, stderr } = await runProgram(program, args, { env: { LD_LIBRARY_PATH: debianLibraries() } });
  if (code !== 0) throw internal(`${program} ended with ${code}: ${stderr}`);
}
