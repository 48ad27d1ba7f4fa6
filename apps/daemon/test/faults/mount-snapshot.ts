import { randomUUID } from "node:crypto";
import { rmdir, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";

import type { Client } from "@berth/client";
import type { Mount } from "@berth/core/mount";
import { internal, isUnimplemented } from "@berth/errors";
import { withTemporaryMount } from "@berth/linux/mount";
import { runProgram } from "@berth/testing";

/** What the images of a rig need, and file systems of ext4 take. */
const SCRATCH_BYTES = 16 * 1024 ** 2;

/** This shows the files of a snapshot to `look`, whatever it takes to mount them. */
export async function withSnapshot<T>(
  client: Client,
  mounts: readonly Mount[],
  look: (path: string) => Promise<T>,
): Promise<T> {
  // The lease keeps what is activated from the collector.
  return await client.withLease(async ({ mounts: manager }) => {
    await using stack = new AsyncDisposableStack();
    const name = `fault-${randomUUID()}`;
    let system = mounts;
    try {
      ({ system } = await manager.activate(name, mounts));
      stack.defer(() => manager.deactivate(name));
    } catch (error) {
      // The kernel can make them all.
      if (!isUnimplemented(error)) throw error;
    }
    return await withTemporaryMount(system, {}, look);
  });
}

/** This makes the file system that blockfile copies, and returns the configuration that says so. */
export async function makeScratch(directory: string): Promise<string> {
  const scratch = join(directory, "scratch.img");
  await writeFile(scratch, "");
  await truncate(scratch, SCRATCH_BYTES);
  const { code, stderr } = await runProgram("mkfs.ext4", ["-q", scratch]);
  if (code !== 0) throw internal(`mkfs.ext4 ended with ${code}: ${stderr}`);
  await withTemporaryMount([{ type: "ext4", source: scratch, target: "", options: ["loop"] }], {}, (path) =>
    rmdir(join(path, "lost+found")),
  );
  return `[plugins."io.containerd.snapshotter.v1.blockfile"]\nscratch_file = ${JSON.stringify(scratch)}\n`;
}
