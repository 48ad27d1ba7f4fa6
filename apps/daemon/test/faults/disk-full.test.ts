import { randomUUID } from "node:crypto";
import { open, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { Code, codeOf } from "@berth/errors";
import { withTemporaryMount } from "@berth/linux/mount";
import { describe, expect, it } from "vitest";

import { checkLeaks, deleteEverything } from "./check-leaks.ts";
import { checkState, checkStored } from "./check-state.ts";
import type { FaultDisk } from "./fault-disk.ts";
import { faultDisk } from "./fault-disk.ts";
import { FaultRig, smallImages } from "./fault-rig.ts";
import { importInto } from "./operations.ts";

const MIB = 1024 ** 2;

/** Files that leave no byte, or no inode, to others. */
async function fill(disk: FaultDisk, what: "bytes" | "inodes"): Promise<() => Promise<void>> {
  const names: string[] = [];
  try {
    for (;;) {
      const name = join(disk.path, randomUUID());
      if (what === "inodes") await writeFile(name, "", { flag: "wx" });
      else await fillOne(name, () => names.push(name));
      names.push(name);
    }
  } catch (error) {
    if (codeOf(error) !== Code.ResourceExhausted) throw error;
  }
  return async () => {
    for (const name of names) await rm(name, { force: true });
  };
}

async function fillOne(name: string, made: () => void): Promise<void> {
  await using file = await open(name, "wx");
  made();
  for (const size of [MIB, 4096, 1]) {
    try {
      for (;;) await file.write(new Uint8Array(size));
    } catch (error) {
      if (size === 1) throw error;
    }
  }
}

/** The code that a call fails with. */
const codeFrom = (call: Promise<unknown>): Promise<Code | "done"> => call.then(() => "done" as const, codeOf);

// Layers that are larger than what a file system finds in corners.
const images = await smallImages(40, 30_000);

describe.each([
  ["bytes", { sizeBytes: 128 * MIB }],
  ["inodes", { sizeBytes: 256 * MIB, inodes: 600 }],
] as const)("a disk without free %s", { timeout: 120_000 }, (what, size) => {
  it("refuses what needs some as resource_exhausted; what is there can be listed, read, deleted and collected; nothing needs a restart", async () => {
    await using disk = await faultDisk({ type: "ext4", ...size });
    await using rig = await FaultRig.start({ disk, images });
    const { pid } = rig.daemon;
    await importInto(rig, images.first, 1);
    const free = await fill(disk, what);

    expect(await codeFrom(importInto(rig, images.second, 1))).toBe(Code.ResourceExhausted);
    expect(await checkStored(rig)).toEqual([]);
    const snapshots = await Array.fromAsync(rig.client.snapshotter(rig.snapshotter).list(), ({ name }) => name);
    expect(snapshots).toEqual(expect.arrayContaining([...images.first.snapshots.keys()]));
    await rig.client.images.delete(images.first.name, { sync: true });
    await deleteEverything(rig);
    expect(await Array.fromAsync(rig.client.content.list())).toEqual([]);
    // What was collected is room for others.
    const freeAgain = await fill(disk, what);
    expect(await codeFrom(importInto(rig, images.second, 3))).toBe(Code.ResourceExhausted);

    await free();
    await freeAgain();
    await importInto(rig, images.second, 3);
    expect(await checkState(rig)).toEqual([]);
    expect(await checkLeaks(rig)).toEqual([]);
    expect(rig.daemon.pid).toBe(pid);
  });

  it("in the middle of an unpack leaves nothing half-made", async () => {
    await using disk = await faultDisk({ type: "ext4", ...size });
    await using rig = await FaultRig.start({ disk, images });
    await importInto(rig, images.second);
    const free = await fill(disk, what);
    expect(await codeFrom(importInto(rig, images.second, 1))).toBe(Code.ResourceExhausted);
    await free();
    expect(await checkState(rig)).toEqual([]);
    await importInto(rig, images.second, 1);
    expect(await checkState(rig)).toEqual([]);
    expect(await checkLeaks(rig)).toEqual([]);
  });

  it("fails a commit, which succeeds when there is room", async () => {
    await using disk = await faultDisk({ type: "ext4", ...size });
    await using rig = await FaultRig.start({ disk, images });
    await importInto(rig, images.first, 1);
    const snapshotter = rig.client.snapshotter(rig.snapshotter);
    // A commit inherits no labels: without its own, the collector may take the snapshot at once.
    const kept = { labels: new Map([["containerd.io/gc.root", "1"]]) };
    const mounts = await snapshotter.prepare("key", images.first.chainId, kept);
    await withTemporaryMount(mounts, {}, (path) => writeFile(join(path, "file"), "content"));
    const free = await fill(disk, what);
    // With the space that is reserved for it, it may come through.
    const code = await codeFrom(snapshotter.commit("name", "key", kept));
    expect([Code.ResourceExhausted, "done"]).toContain(code);
    await free();
    if (code !== "done") await snapshotter.commit("name", "key", kept);
    expect(await snapshotter.stat("name")).toMatchObject({ kind: "committed" });
  });
});
