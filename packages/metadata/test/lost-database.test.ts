import { rm, writeFile } from "node:fs/promises";

import { putText } from "@berth/conformance/collector";
import { createLocalContentStore } from "@berth/content";
import { openNativeSnapshotter } from "@berth/snapshotters/native";
import { memoryDirectory } from "@berth/testing";
import { expect, it } from "vitest";

import type { OfflineStorage } from "../src/offline.ts";
import { checkStorage, repairStorage } from "../src/offline.ts";
import { openStorage } from "./daemon-storage.ts";

const LATER_MS = 60_000;

async function loseDatabase(root: string): Promise<void> {
  await rm(`${root}/meta.mdb`);
  await rm(`${root}/meta.mdb-lock`, { force: true });
}

it("a database that is made anew leaves what is older to be brought back, and collects its own", async () => {
  await using directory = await memoryDirectory("lost-database");
  const root = directory.path;
  {
    await using storage = await openStorage({ root });
    await putText(storage.stores.content, "precious");
    await storage.stores.snapshotter("native").prepare("kept", "");
  }
  await loseDatabase(root);
  // As if the process began later, so that all that is there was made before.
  await using storage = await openStorage({ root, startedAt: Date.now() + LATER_MS });
  await storage.metadata.collect();
  expect(await Array.fromAsync(storage.content.list())).toHaveLength(1);
  expect(await Array.fromAsync(storage.native.list())).toHaveLength(1);

  const digest = await putText(storage.stores.content, "own garbage");
  await storage.stores.snapshotter("native").prepare("own", "");
  await storage.stores.content.delete(digest);
  await storage.stores.snapshotter("native").remove("own");
  await storage.metadata.collect();
  expect(await Array.fromAsync(storage.content.list())).toHaveLength(1);
  expect(await Array.fromAsync(storage.native.list())).toHaveLength(1);
});

it("numbers that a lost database gave are not given again, and what has them stays over further restarts", async () => {
  await using directory = await memoryDirectory("lost-database");
  const root = directory.path;
  {
    await using storage = await openStorage({ root });
    await storage.stores.snapshotter("native").prepare("same", "");
  }
  await loseDatabase(root);
  {
    await using storage = await openStorage({ root });
    await storage.stores.snapshotter("native").prepare("same", "");
    expect(await Array.fromAsync(storage.native.list())).toHaveLength(2);
  }
  await using storage = await openStorage({ root, startedAt: Date.now() + LATER_MS });
  await storage.metadata.collect();
  // The second one was not held by anything.
  expect(await Array.fromAsync(storage.native.list())).toHaveLength(1);
});

/** This works on the storage of a stopped daemon. */
async function offline<T>(root: string, work: (storage: OfflineStorage) => AsyncIterable<T>): Promise<T[]> {
  await using native = await openNativeSnapshotter({ root: `${root}/native` });
  const content = await createLocalContentStore({ root: `${root}/content` });
  return await Array.fromAsync(
    work({ path: `${root}/meta.mdb`, content, snapshotters: new Map([["native", native]]) }),
  );
}

/** A daemon that starts later than all that is there collects, and what its backends hold then is counted. */
async function collectLater(root: string): Promise<{ readonly blobs: number; readonly snapshots: number }> {
  await using storage = await openStorage({ root, startedAt: Date.now() + LATER_MS });
  await storage.metadata.collect();
  const blobs = await Array.fromAsync(storage.content.list());
  const snapshots = await Array.fromAsync(storage.native.list());
  return { blobs: blobs.length, snapshots: snapshots.length };
}

it.each([
  ["missing", loseDatabase],
  ["damaged", (root: string) => writeFile(`${root}/meta.mdb`, Buffer.alloc(50_000, "no database"))],
])(
  "a repair of a %s database keeps what it brings no record back of, until it is told to let it go",
  async (_, lose) => {
    await using directory = await memoryDirectory("lost-database");
    const root = directory.path;
    {
      await using storage = await openStorage({ root });
      await putText(storage.stores.content, "precious");
      await storage.stores.snapshotter("native").prepare("kept", "");
    }
    await lose(root);
    const options = { namespace: "test" };
    // a database begun just now releases nothing yet, whatever is asked for
    await offline(root, (storage) => repairStorage(storage, { ...options, releaseUnknown: true }));
    expect(await collectLater(root)).toEqual({ blobs: 1, snapshots: 1 });
    const kept = await offline(root, (storage) => checkStorage(storage, options));
    expect(kept.map(({ kind, detail }) => [kind, detail.includes("--release-unknown")])).toEqual([
      ["unknown-blob", true],
      ["unknown-snapshot", true],
    ]);

    const released = await offline(root, (storage) => repairStorage(storage, { ...options, releaseUnknown: true }));
    expect(released.map(({ finding }) => finding.kind)).toEqual(["kept-unknown"]);
    const free = await offline(root, (storage) => checkStorage(storage, options));
    expect(free.map(({ detail }) => detail.includes("collector removes it"))).toEqual([true, true]);
    expect(await collectLater(root)).toEqual({ blobs: 0, snapshots: 0 });
  },
);
