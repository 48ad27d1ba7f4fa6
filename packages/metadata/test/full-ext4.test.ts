import { labels, putImage } from "@berth/conformance/collector";
import { open, rm, statfs } from "node:fs/promises";
import { join } from "node:path";

import { createLocalContentStore } from "@berth/content";
import type { NamespacedStores } from "@berth/core/metadata";
import type { Snapshotter } from "@berth/core/snapshots";
import { Code, codeOf } from "@berth/errors";
import { mountAll, unmountAll } from "@berth/linux/mount";
import { openBlockfileSnapshotter } from "@berth/snapshotters/blockfile";
import { openNativeSnapshotter } from "@berth/snapshotters/native";
import { openOverlaySnapshotter } from "@berth/snapshotters/overlayfs";
import { debianPath, runProgram, temporaryDirectory } from "@berth/testing";
import { describe, expect, it } from "vitest";

import { openMetadata } from "../src/index.ts";
import { putText, testNamespace } from "./daemon-storage.ts";

const MIB = 1024 ** 2;
/** Records with which no page of the databases is free when the disk is full. */
const COUNT = 30;

process.env["PATH"] = debianPath();

async function mustRun(program: string, ...args: string[]): Promise<void> {
  const { code, stderr } = await runProgram(program, args);
  expect([program, code, stderr]).toEqual([program, 0, expect.anything()]);
}

/** An ext4 on a loop device, no block of which is kept for root. */
async function openDisk(): Promise<AsyncDisposable & { readonly path: string }> {
  await using made = new AsyncDisposableStack();
  const { path } = made.use(await temporaryDirectory("metadata"));
  const image = join(path, "image");
  {
    await using file = await open(image, "wx");
    await file.truncate(256 * MIB);
  }
  await mustRun("mkfs.ext4", "-q", "-m", "0", image);
  const target = join(path, "mounted");
  await mustRun("mkdir", target);
  await mountAll([{ type: "ext4", source: image, target: "", options: ["loop", "noatime"] }], target);
  made.defer(() => unmountAll(target));
  const owned = made.move();
  return { path: target, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

async function fill(path: string): Promise<void> {
  await using file = await open(path, "wx");
  for (const size of [4 * MIB, 64 * 1024, 4096]) {
    try {
      for (;;) await file.write(new Uint8Array(size));
    } catch (error) {
      expect(codeOf(error)).toBe(Code.ResourceExhausted);
    }
  }
  await file.sync();
}

async function openSnapshotters(path: string, made: AsyncDisposableStack): Promise<Map<string, Snapshotter>> {
  const scratchFile = join(path, "scratch");
  {
    await using file = await open(scratchFile, "wx");
    await file.truncate(2 * MIB);
  }
  await mustRun("mkfs.ext4", "-q", "-O", "^has_journal", scratchFile);
  const overlayfs = (await openOverlaySnapshotter({ root: join(path, "overlayfs") })).snapshotter;
  return new Map<string, Snapshotter>([
    ["native", made.use(await openNativeSnapshotter({ root: join(path, "native") }))],
    ["overlayfs", made.use(overlayfs)],
    ["blockfile", made.use(await openBlockfileSnapshotter({ root: join(path, "blockfile"), scratchFile }))],
  ]);
}

/** All at once, so that few commits are shared by all: the databases then have no free pages that removals could be written to. */
async function makeObjects(stores: NamespacedStores): Promise<void> {
  const padding = "x".repeat(2000);
  const numbers = [...Array(COUNT).keys()];
  const digest = await putText(stores.content, "blob", { "containerd.io/gc.root": "1" });
  await Promise.all(numbers.map((index) => putImage(stores, digest, { padding }, `image ${index}`)));
  for (const name of stores.snapshotters) {
    const snapshotter = stores.snapshotter(name);
    // Only such labels reach the snapshotter.
    const options = { labels: labels({ "containerd.io/snapshot/padding": padding }) };
    const wanted = name === "blockfile" ? numbers.slice(0, 12) : numbers;
    await Promise.all(wanted.map((index) => snapshotter.prepare(`active ${index}`, "", options)));
  }
}

describe("an ext4 without a free byte", () => {
  it(
    "lets everything be listed, deleted and collected, from metadata and each snapshotter",
    { timeout: 120_000 },
    async () => {
      await using made = new AsyncDisposableStack();
      const { path } = made.use(await openDisk());
      const fatal: Error[] = [];
      const snapshotters = await openSnapshotters(path, made);
      const metadata = made.use(
        await openMetadata({
          path: join(path, "meta.mdb"),
          content: await createLocalContentStore({ root: join(path, "content") }),
          snapshotters,
          events: { publish: async () => {} },
          fatal: (error) => void fatal.push(error),
        }),
      );
      const stores = metadata.namespace(testNamespace);
      // The collector must not come before the disk is full.
      await stores.leases.create({ id: "l", labels: new Map() });
      await makeObjects(metadata.namespace(testNamespace, { lease: "l" }));
      await fill(join(path, "filler"));
      // What is left is what the file system keeps for its own maps.
      expect((await statfs(path)).bavail).toBeLessThan(8);
      expect(await Array.fromAsync(stores.images.list({ filters: ["name~=image"] }))).toHaveLength(COUNT);
      for (const [name, snapshotter] of snapshotters) {
        const keys = (await Array.fromAsync(snapshotter.list())).map((info) => info.name);
        expect([name, keys.length]).toEqual([name, name === "blockfile" ? 12 : COUNT]);
        // Past the metadata, one transaction each.
        for (const key of keys.slice(0, keys.length / 2)) await snapshotter.remove(key);
      }
      for (let index = 0; index < COUNT; index++) await stores.images.delete(`image ${index}`);
      // The other halves go by the collector.
      await stores.leases.delete("l", { sync: true });
      expect(await Array.fromAsync(stores.images.list())).toEqual([]);
      for (const [name, snapshotter] of snapshotters) {
        expect([name, await Array.fromAsync(snapshotter.list())]).toEqual([name, []]);
      }
      expect(fatal).toEqual([]);
      await rm(join(path, "filler"));
      await putText(stores.content, "there is room again");
    },
  );
});
