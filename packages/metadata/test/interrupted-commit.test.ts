import { temporaryDirectory } from "@berth/testing";
import { describe, expect, it } from "vitest";

import { openStorage, type Storage } from "./daemon-storage.ts";

const root = new Map([["containerd.io/gc.root", "now"]]);

/** As far as a commit gets when its process dies before the record is written. */
async function commitHalf({ native }: Storage, name: string): Promise<void> {
  const [active] = await Array.fromAsync(native.list());
  const key = active?.name ?? "";
  await native.commit(key.replace(/[^/]+$/, name), key);
}

describe("a commit of a snapshot that ended between backend and record", () => {
  it.each(["done", "another name"])("is taken by the next one, as %j; the collector leaves it alone", async (name) => {
    await using directory = await temporaryDirectory("metadata");
    {
      await using storage = await openStorage({ root: directory.path });
      await storage.stores.snapshotter("native").prepare("work", "", { labels: root });
      await commitHalf(storage, "done");
    }
    await using storage = await openStorage({ root: directory.path });
    const snapshots = storage.stores.snapshotter("native");
    await storage.metadata.collect();
    await snapshots.commit(name, "work", { labels: root });
    expect(await snapshots.stat(name)).toMatchObject({ kind: "committed", name });
    await snapshots.prepare("above", name);
    await snapshots.remove("above");
    await snapshots.remove(name);
    await storage.metadata.collect();
    expect(await Array.fromAsync(storage.native.list())).toEqual([]);
  });

  it("goes with its record when nobody commits again", async () => {
    await using storage = await openStorage();
    await storage.stores.snapshotter("native").prepare("work", "", { labels: root });
    await commitHalf(storage, "done");
    await storage.stores.snapshotter("native").remove("work");
    await storage.metadata.collect();
    expect(await Array.fromAsync(storage.native.list())).toEqual([]);
  });

  it("does not stand in for a snapshot that is gone", async () => {
    await using storage = await openStorage();
    const snapshots = storage.stores.snapshotter("native");
    await snapshots.prepare("first", "", { labels: root });
    await snapshots.commit("one", "first", { labels: root });
    await snapshots.prepare("second", "", { labels: root });
    const backendKey = (await Array.fromAsync(storage.native.list())).find(({ kind }) => kind === "active");
    await storage.native.remove(backendKey?.name ?? "");
    await expect(snapshots.commit("two", "second")).rejects.toThrow();
    expect((await Array.fromAsync(snapshots.list())).map(({ name }) => name)).toEqual(["one"]);
  });
});

describe("a snapshot prepared before the process began and committed after", () => {
  it("is collected when it is removed", async () => {
    await using directory = await temporaryDirectory("metadata");
    {
      await using storage = await openStorage({ root: directory.path });
      await storage.stores.snapshotter("native").prepare("work", "", { labels: root });
    }
    await using storage = await openStorage({ root: directory.path });
    const snapshots = storage.stores.snapshotter("native");
    await snapshots.commit("done", "work", { labels: root });
    await storage.metadata.collect();
    expect(await Array.fromAsync(storage.native.list())).toHaveLength(1);
    await snapshots.remove("done");
    await storage.metadata.collect();
    expect(await Array.fromAsync(storage.native.list())).toEqual([]);
  });
});
