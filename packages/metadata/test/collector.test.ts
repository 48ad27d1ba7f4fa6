import { createLocalContentStore } from "@berth/content";
import type { ContentWriter } from "@berth/core/content";
import type { NamespacedStores } from "@berth/core/metadata";
import { parseNamespace } from "@berth/core/namespaces";
import type { Digest } from "@berth/oci";
import { parseDigest } from "@berth/oci";
import { openNativeSnapshotter } from "@berth/snapshotters/native";
import { describe, expect, it } from "vitest";

import { openMetadata } from "../src/index.ts";
import type { Case } from "./collector-scene.ts";
import { commitSnapshot, FUTURE, labels, PAST, playCase, putContainer, putImage } from "./collector-scene.ts";
import { openStorage, putText } from "./daemon-storage.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

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

const cases: readonly Case[] = [
  { name: "a blob without reference goes", build: async (_, put) => void (await put("lonely")), left: [] },
  {
    name: "a blob with gc.root stays, whatever the value",
    build: async (_, put) => void (await put("root", { "containerd.io/gc.root": "no" })),
    left: ["root"],
  },
  {
    name: "an image holds its target and what labels of blobs refer to",
    build: async ({ stores }, put) => {
      const config = await put("config");
      const layer = await put("layer");
      const other = await put("other");
      const manifest = await put("manifest", {
        "containerd.io/gc.ref.content.config": config,
        "containerd.io/gc.ref.content.l.0": layer,
        "containerd.io/gc.ref.content/x": other,
        "containerd.io/gc.ref.contents": await put("not referred to"),
      });
      await putImage(stores, manifest);
    },
    left: ["config", "image", "layer", "manifest", "other"],
  },
  {
    name: "blobs that refer to each other without a root go",
    build: async ({ stores }, put) => {
      const one = await put("one");
      const two = await put("two", { "containerd.io/gc.ref.content": one });
      await stores.content.update({
        digest: parseDigest(one),
        labels: labels({ "containerd.io/gc.ref.content": two }),
      });
    },
    left: [],
  },
  {
    name: "an expired image goes with what it held",
    build: async ({ stores }, put) => putImage(stores, await put("manifest"), { "containerd.io/gc.expire": PAST }),
    left: [],
  },
  {
    name: "an image that expires later stays, and so does one whose time cannot be read",
    build: async ({ stores }, put) => {
      await putImage(stores, await put("a"), { "containerd.io/gc.expire": FUTURE }, "later");
      await putImage(stores, await put("b"), { "containerd.io/gc.expire": "tomorrow" }, "never");
    },
    left: ["a", "b", "later", "never"],
  },
  {
    name: "an expired image stays that another object refers to",
    build: async ({ stores }, put) => {
      await putImage(stores, await put("a"), { "containerd.io/gc.expire": PAST }, "old");
      await putImage(stores, await put("b"), { "containerd.io/gc.ref.image.x": "old" }, "new");
    },
    left: ["a", "b", "new", "old"],
  },
  {
    name: "an image holds snapshots of the snapshotter that a label names, with their parents",
    build: async ({ stores }, put) => {
      await commitSnapshot(stores, "base");
      await commitSnapshot(stores, "top", "base");
      await commitSnapshot(stores, "aside", "base");
      const config = await put("config", { "containerd.io/gc.ref.snapshot.native": "top" });
      await putImage(stores, config, { "containerd.io/gc.ref.snapshot.other": "aside" });
    },
    left: ["base", "config", "image", "top"],
  },
  {
    name: "a container holds its snapshot and what its labels refer to",
    build: async ({ stores }, put) => {
      await commitSnapshot(stores, "base");
      await stores.snapshotter("native").prepare("rw", "base");
      await stores.snapshotter("native").prepare("unused", "base");
      await commitSnapshot(stores, "labelled");
      const content = await put("content");
      await putContainer(stores, "rw", {
        "containerd.io/gc.ref.snapshot.native/x": "labelled",
        "containerd.io/gc.ref.content.a": content,
      });
    },
    left: ["base", "content", "labelled", "rw"],
  },
  {
    name: "a snapshot with gc.root stays, with its parent",
    build: async ({ stores }) => {
      await commitSnapshot(stores, "base");
      await commitSnapshot(stores, "top", "base", { "containerd.io/gc.root": "x" });
    },
    left: ["base", "top"],
  },
  {
    name: "a lease holds what was made through it, and all that this refers to",
    build: async ({ stores, leased }, put) => {
      await stores.leases.create({ id: "lease", labels: new Map() });
      const layer = await put("layer");
      await putText(leased("lease").content, "manifest", { "containerd.io/gc.ref.content": layer });
      await commitSnapshot(leased("lease"), "base");
      await commitSnapshot(leased("lease"), "top", "base");
      await (await leased("lease").content.writer("ingest"))[Symbol.asyncDispose]();
    },
    left: ["base", "ingest", "layer", "lease", "manifest", "top"],
  },
  {
    name: "an expired lease holds nothing, its ingests neither",
    build: async ({ stores, leased }) => {
      await stores.leases.create({ id: "lease", labels: labels({ "containerd.io/gc.expire": PAST }) });
      await putText(leased("lease").content, "blob");
      await (await leased("lease").content.writer("ingest"))[Symbol.asyncDispose]();
    },
    left: [],
  },
  {
    name: "a flat lease holds only what it names: parents of snapshots and targets of images besides",
    build: async ({ stores, leased }, put) => {
      await stores.leases.create({ id: "flat", labels: labels({ "containerd.io/gc.flat": FUTURE }) });
      const layer = await put("layer");
      const top = await putText(leased("flat").content, "index", { "containerd.io/gc.ref.content": layer });
      await commitSnapshot(stores, "base");
      const config = await put("config");
      await commitSnapshot(stores, "top", "base", { "containerd.io/gc.ref.content": config });
      await stores.leases.addResource("flat", { type: "snapshots/native", id: "top" });
      const image = await put("target", { "containerd.io/gc.ref.content": top });
      await putImage(stores, image, { "containerd.io/gc.expire": PAST });
      await stores.leases.addResource("flat", { type: "images", id: "image" });
    },
    left: ["base", "flat", "image", "index", "target", "top"],
  },
  {
    name: "what is reached flatly and fully keeps what it refers to, whichever comes first",
    build: async ({ stores, leased }, put) => {
      const layer = await put("layer");
      for (const [id, extra] of [
        ["flat1", { "containerd.io/gc.flat": "1" }],
        ["full", {}],
        ["flat2", { "containerd.io/gc.flat": "1" }],
      ] as const) {
        await stores.leases.create({ id, labels: labels(extra) });
        await putText(leased(id).content, "manifest", { "containerd.io/gc.ref.content": layer });
      }
    },
    left: ["flat1", "flat2", "full", "layer", "manifest"],
  },
  {
    name: "an ingest without a lease lives for a day, and an open one as long as it is open",
    build: async ({ stores }) => void (await (await stores.content.writer("ingest"))[Symbol.asyncDispose]()),
    left: ["ingest"],
  },
];

describe("Metadata.collect", () => {
  it.each(cases)("$name", async (each) => {
    await using storage = await openStorage();
    expect(await playCase(storage, each)).toEqual(each.left);
    // The backends hold exactly what the records name.
    const blobs = await Array.fromAsync(storage.content.list());
    expect(blobs.map(({ digest }) => digest)).toEqual(
      (await Array.fromAsync(storage.stores.content.list())).map(({ digest }) => digest),
    );
    const snapshots = await Array.fromAsync(storage.stores.snapshotter("native").list());
    expect(await Array.fromAsync(storage.native.list())).toHaveLength(snapshots.length);
    expect(await Array.fromAsync(storage.content.listStatuses())).toHaveLength(each.left.includes("ingest") ? 1 : 0);
  });

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
    await using directory = await temporaryDirectory();
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
