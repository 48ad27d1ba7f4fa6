import { rm } from "node:fs/promises";

import { putText } from "@berth/conformance/collector";
import { memoryDirectory } from "@berth/testing";
import { expect, it } from "vitest";

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
