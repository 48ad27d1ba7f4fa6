import { commitSnapshot, labels, PAST, putImage } from "@berth/conformance/collector";
import { createLocalContentStore } from "@berth/content";
import type { ContentWriter } from "@berth/core/content";
import type { NamespacedStores } from "@berth/core/metadata";
import { parseNamespace } from "@berth/core/namespaces";
import type { Digest } from "@berth/oci";
import { openNativeSnapshotter } from "@berth/snapshotters/native";
import { temporaryDirectory } from "@berth/testing";
import { describe, expect, it } from "vitest";

import { openMetadata } from "../src/index.ts";
import { openStorage, putText } from "./daemon-storage.ts";

/** This fails unless the bytes of a blob are there. */
async function requireBytes({ content }: NamespacedStores, digest: Digest): Promise<void> {
  await using reader = await content.reader(digest);
  expect((await reader.readAt(0, reader.size)).length).toBe(reader.size);
}

/** This wraps a backend so that a whole collection runs between the end of each of these calls and its caller going on. */
function collectAfter<T extends object>(backend: T, calls: readonly string[], collect: () => Promise<unknown>): T {
  return new Proxy(backend, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== "function") return value;
      if (!calls.includes(String(name))) return value.bind(target);
      return async (...parameters: unknown[]) => {
        const result: unknown = await value.apply(target, parameters);
        await collect();
        // Only a content store has a method of this name.
        return name === "writer" ? collectAfterCommit(result as ContentWriter, collect) : result;
      };
    },
  });
}

function collectAfterCommit(writer: ContentWriter, collect: () => Promise<unknown>): ContentWriter {
  return {
    write: (chunk, options) => writer.write(chunk, options),
    truncate: (size, options) => writer.truncate(size, options),
    status: (options) => writer.status(options),
    digest: (options) => writer.digest(options),
    commit: (options) => writer.commit(options).finally(collect),
    [Symbol.asyncDispose]: () => writer[Symbol.asyncDispose](),
  };
}

describe("Metadata.collect", () => {
  it("takes what lost its last reference, and says so", async () => {
    await using storage = await openStorage();
    await putImage(
      storage.stores,
      await putText(storage.stores.content, "x"),
      { "containerd.io/gc.expire": PAST },
      "a",
    );
    await storage.stores.snapshotter("native").prepare("s", "");
    storage.events.length = 0;
    const stats = await storage.metadata.collect();
    expect(Object.fromEntries(stats.removed)).toEqual({ images: 1, snapshots: 1, content: 1 });
    expect(stats.removedFromBackends).toBe(2);
    expect(storage.events.map(({ topic }) => topic).toSorted()).toEqual(["/images/delete", "/snapshot/remove"]);
  });

  it("keeps a blob for one namespace that another has let go", async () => {
    await using storage = await openStorage();
    const digest = await putText(storage.stores.content, "x", { "containerd.io/gc.root": "1" });
    const other = storage.metadata.namespace(parseNamespace("other")).content;
    await putText(other, "x");
    await storage.metadata.collect();
    expect((await Array.fromAsync(other.list())).length).toBe(0);
    await using reader = await storage.stores.content.reader(digest);
    expect(reader.size).toBe(1);
  });

  it("deletes with sync answer when the bytes are gone", async () => {
    await using storage = await openStorage();
    await putImage(storage.stores, await putText(storage.stores.content, "x"));
    await storage.stores.images.delete("image", { sync: true });
    expect(await Array.fromAsync(storage.content.list())).toEqual([]);
  });

  it("removes from backends what an earlier process left, and nothing that somebody else makes now", async () => {
    await using storage = await openStorage({ startedAt: Date.now() - 60_000 });
    await putText(storage.content, "somebody else's").catch(() => {});
    await storage.native.prepare("foreign", "");
    await storage.metadata.collect();
    expect(await Array.fromAsync(storage.content.list())).toHaveLength(1);
    expect(await Array.fromAsync(storage.native.list())).toHaveLength(1);
  });

  it("removes orphans that are older than this process, children before parents", async () => {
    await using storage = await openStorage({ startedAt: Date.now() + 60_000 });
    await putText(storage.content, "orphan").catch(() => {});
    await (await storage.content.writer("orphaned ingest"))[Symbol.asyncDispose]();
    await storage.native.prepare("z", "");
    await storage.native.commit("base", "z");
    await storage.native.prepare("a", "base");
    const stats = await storage.metadata.collect();
    expect(stats.removedFromBackends).toBe(4);
    expect(await Array.fromAsync(storage.native.list())).toEqual([]);
    expect(await Array.fromAsync(storage.content.listStatuses())).toEqual([]);
  });
});

describe("Metadata.collect beside writers", () => {
  it("never takes what a lease holds, however writes and collections fall together", async () => {
    await using storage = await openStorage();
    const { stores, leased, metadata } = storage;
    await stores.leases.create({ id: "lease", labels: new Map() });
    let done = false;
    const collecting = (async () => {
      while (!done) await metadata.collect();
    })();
    const held = leased("lease");
    await Promise.all(
      Array.from({ length: 8 }, async (_, worker) => {
        for (let round = 0; round < 12; round++) {
          const name = `${worker}-${round}`;
          const digest = await putText(held.content, name);
          await commitSnapshot(held, `s${name}`, round === 0 ? "" : `s${worker}-${round - 1}`);
          await putImage(stores, digest, { "containerd.io/gc.ref.snapshot.native": `s${name}` }, name);
          // From here the image holds both.
          await stores.leases.deleteResource("lease", { type: "content", id: digest });
        }
      }),
    );
    done = true;
    await collecting;
    await metadata.collect();
    expect((await Array.fromAsync(stores.content.list())).length).toBe(96);
    expect((await Array.fromAsync(stores.snapshotter("native").list())).length).toBe(96);
    for await (const { digest } of stores.content.list()) await requireBytes(stores, digest);
  });

  it("never takes what a lease got hold of before it was gone", async () => {
    await using storage = await openStorage();
    const { stores, leased, metadata } = storage;
    await stores.leases.create({ id: "lease", labels: new Map() });
    let held = 0;
    for (let round = 0; round < 40; round++) {
      const digest = await putText(stores.content, `garbage ${round}`);
      const collected = metadata.collect();
      for (let turn = 0; turn < round % 4; turn++) await new Promise((resolve) => setImmediate(resolve));
      const taken = await leased("lease")
        .content.writer(`w${round}`, { expected: digest })
        .catch((error: unknown) => error);
      await collected;
      if (taken instanceof Error) {
        held++;
        await requireBytes(stores, digest);
      } else {
        // It was gone already, and has to be written again.
        await (taken as AsyncDisposable)[Symbol.asyncDispose]();
      }
    }
    expect(held).toBeGreaterThan(0);
  });

  it("leaves alone what backends have made and the database does not know yet", async () => {
    await using directory = await temporaryDirectory("metadata");
    let collect = async (): Promise<unknown> => undefined;
    const afterwards = () => collect();
    const content = await createLocalContentStore({ root: `${directory.path}/content` });
    await using native = await openNativeSnapshotter({ root: `${directory.path}/native` });
    await using metadata = await openMetadata({
      path: `${directory.path}/meta.mdb`,
      content: collectAfter(content, ["writer"], afterwards),
      snapshotters: new Map([["native", collectAfter(native, ["prepare", "view", "commit"], afterwards)]]),
      events: { publish: async () => {} },
      fatal: () => {},
      // All that no record names is old enough to go.
      startedAt: Date.now() + 60_000,
    });
    // Each collection cleans only those backends that something was removed from.
    const victims = metadata.namespace(parseNamespace("victims"));
    const root = { "containerd.io/gc.root": "1" };
    const digests: Digest[] = [];
    for (let index = 0; index < 20; index++) {
      digests.push(await putText(victims.content, `victim ${index}`, root));
      await victims.snapshotter("native").prepare(`victim ${index}`, "", { labels: labels(root) });
    }
    let removed = 0;
    collect = async () => {
      const index = removed++;
      await victims.content.delete(digests[index] ?? expect.fail("too few victims"));
      await victims.snapshotter("native").remove(`victim ${index}`);
      await metadata.collect();
    };
    const stores = metadata.namespace(parseNamespace("test"));
    await stores.leases.create({ id: "lease", labels: new Map() });
    const held = metadata.namespace(parseNamespace("test"), { lease: "lease" });
    await putText(content, "known to the backend already").catch(() => {});
    for (const text of ["new", "known to the backend already"]) {
      await requireBytes(stores, await putText(held.content, text));
    }
    await commitSnapshot(held, "base");
    await held.snapshotter("native").view("look", "base");
    expect((await held.snapshotter("native").usage("look")).inodes).toBeGreaterThanOrEqual(0);
    await metadata.collect();
    expect(await Array.fromAsync(native.list())).toHaveLength(2 + 20 - removed);
  });
});
