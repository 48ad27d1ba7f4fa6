import { createLocalContentStore } from "@berth/content";
import type { ContentStore } from "@berth/core/content";
import { parseNamespace } from "@berth/core/namespaces";
import { dataLoss } from "@berth/errors";
import type { Digest } from "@berth/oci";
import { sha256, temporaryDirectory } from "@berth/testing";
import { describe, expect, it } from "vitest";

import type { Storage } from "./daemon-storage.ts";
import { openStorage, putText } from "./daemon-storage.ts";

/** The first deletions fail. */
function failingStore(store: ContentStore, failures: number): ContentStore {
  let left = failures;
  return new Proxy(store, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (name === "delete" && left-- > 0) return () => Promise.reject(dataLoss("disk"));
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

describe("a blob that cannot be removed from the store", () => {
  it("is removed by the next collection, the others by this one", async () => {
    await using directory = await temporaryDirectory("metadata");
    const content = await createLocalContentStore({ root: `${directory.path}/blobs` });
    await using storage = await openStorage({ content: failingStore(content, 1) });
    for (const text of ["a", "b", "c"]) await putText(storage.stores.content, text);
    await storage.metadata.collect();
    expect(await Array.fromAsync(content.list())).toHaveLength(1);
    await storage.metadata.collect();
    expect(await Array.fromAsync(content.list())).toEqual([]);
  });

  it("is looked for among all blobs until one collection has removed all garbage, and never again", async () => {
    await using directory = await temporaryDirectory("metadata");
    const content = await createLocalContentStore({ root: `${directory.path}/blobs` });
    let lists = 0;
    const counting = new Proxy(failingStore(content, 1), {
      get(target, name) {
        if (name === "list") lists++;
        return Reflect.get(target, name) as unknown;
      },
    });
    const startedAt = Date.now() + 1000;
    await using storage = await openStorage({ content: counting, startedAt });
    await putText(content, "of an earlier process").catch(() => {}); // this store keeps no labels
    const collectOne = async (text: string): Promise<readonly [lists: number, blobs: number]> => {
      await putText(storage.stores.content, text);
      lists = 0;
      await storage.metadata.collect();
      return [lists, (await Array.fromAsync(content.list())).length];
    };
    expect(await collectOne("a")).toEqual([1, 1]);
    expect(await collectOne("b")).toEqual([1, 0]);
    expect(await collectOne("c")).toEqual([0, 0]);
  });
});

describe("a blob that is passed over once the store has been looked through", () => {
  it("is removed when the ingest that shared it is given up", async () => {
    await using storage = await openStorage();
    const { content } = storage.metadata.namespace(parseNamespace("other"));
    await storage.metadata.collect();
    const expected = await putText(storage.stores.content, "shared");
    await (await content.writer("r", { expected }))[Symbol.asyncDispose]();
    await storage.metadata.collect();
    expect(await Array.fromAsync(storage.content.list())).toHaveLength(1);
    await content.abort("r");
    await storage.metadata.collect();
    expect(await Array.fromAsync(storage.content.list())).toEqual([]);
  });

  it("is removed when it is of an earlier process, and the pin on it is gone", async () => {
    await using directory = await temporaryDirectory("metadata");
    const content = await createLocalContentStore({ root: `${directory.path}/blobs` });
    await using storage = await openStorage({ content, startedAt: Date.now() + 1000 });
    await putText(content, "of an earlier process").catch(() => {}); // this store keeps no labels
    {
      await using _pinning = await storage.stores.content.writer("r", {
        expected: sha256(Buffer.from("of an earlier process")),
      });
      await storage.metadata.collect();
      expect(await Array.fromAsync(content.list())).toHaveLength(1);
    }
    await storage.metadata.collect();
    expect(await Array.fromAsync(content.list())).toEqual([]);
  });
});

describe("what is removed while collections run one after the other", () => {
  /** This removes something beside collections, one of which meets the commit under way. */
  async function removeBesideCollections({ metadata }: Storage, remove: () => Promise<void>): Promise<void> {
    let removing = true;
    const removed = remove().finally(() => (removing = false));
    while (removing) await metadata.collect();
    await removed;
    await metadata.collect();
  }

  const names = Array.from({ length: 20 }, (_, at) => `n${at}`);
  const root = { "containerd.io/gc.root": "1" };

  it("does not stay in the content store", async () => {
    // On a disk, where a commit takes its time.
    await using directory = await temporaryDirectory("metadata");
    await using storage = await openStorage({ root: directory.path });
    const digests: Digest[] = [];
    for (const name of names) digests.push(await putText(storage.stores.content, name, root));
    await storage.metadata.collect();
    for (const [at, digest] of digests.entries()) {
      await removeBesideCollections(storage, () => storage.stores.content.delete(digest));
      expect(await Array.fromAsync(storage.content.list())).toHaveLength(names.length - at - 1);
    }
  });

  it("does not stay in a snapshotter", async () => {
    await using directory = await temporaryDirectory("metadata");
    await using storage = await openStorage({ root: directory.path });
    const native = storage.stores.snapshotter("native");
    for (const name of names) await native.prepare(name, "", { labels: new Map(Object.entries(root)) });
    await storage.metadata.collect();
    for (const [at, name] of names.entries()) {
      await removeBesideCollections(storage, () => native.remove(name));
      expect(await Array.fromAsync(storage.native.list())).toHaveLength(names.length - at - 1);
    }
  });
});
