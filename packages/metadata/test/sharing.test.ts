import type { ContentWriter, WriterOptions } from "@berth/core/content";
import type { NamespacedStores } from "@berth/core/metadata";
import { parseNamespace } from "@berth/core/namespaces";
import type { Snapshotter } from "@berth/core/snapshots";
import { SnapshotLabel } from "@berth/core/snapshots";
import { alreadyExists, Code, codeOf } from "@berth/errors";
import { formatDigest, parseDigest } from "@berth/oci";
import { createHash } from "node:crypto";
import { openNativeSnapshotter } from "@berth/snapshotters/native";
import { MemoryContentStore, temporaryDirectory } from "@berth/testing";
import { describe, expect, it } from "vitest";

import { openStorage, putText } from "./daemon-storage.ts";

const other = parseNamespace("other");
const text = (content: string) => new TextEncoder().encode(content);
const codeFrom = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: unknown) => codeOf(error),
  );

describe("NamespacedContent, policy shared", () => {
  it("takes a blob over from another namespace without its bytes", async () => {
    await using storage = await openStorage();
    const digest = await putText(storage.stores.content, "hello");
    const { content } = storage.metadata.namespace(other);
    expect(await codeFrom(content.info(digest))).toBe(Code.NotFound);
    expect(await codeFrom(content.reader(digest))).toBe(Code.NotFound);
    await using writer = await content.writer("r", { expected: digest, total: 5 });
    expect(await writer.status()).toMatchObject({ ref: "r", offset: 5, total: 5, expected: digest });
    expect(await writer.digest()).toBe(digest);
    expect(await codeFrom(content.status("r"))).toBe(Code.NotFound);
    expect(await Array.fromAsync(content.listStatuses())).toEqual([]);
    expect(await Array.fromAsync(storage.content.listStatuses())).toEqual([]);
    await writer.commit({ digest, size: 5, labels: new Map([["k", "v"]]) });
    expect(await content.info(digest)).toMatchObject({ size: 5, labels: new Map([["k", "v"]]) });
  });

  it("does not share a blob of another size than expected", async () => {
    await using storage = await openStorage();
    const expected = await putText(storage.stores.content, "hello");
    await using writer = await storage.metadata.namespace(other).content.writer("r", { expected, total: 6 });
    expect((await writer.status()).offset).toBe(0);
  });

  it("refuses to commit as anything but the shared blob", async () => {
    await using storage = await openStorage();
    const expected = await putText(storage.stores.content, "hello");
    const { content } = storage.metadata.namespace(other);
    for (const wrong of [{ size: 6 }, { digest: parseDigest(`sha256:${"0".repeat(64)}`) }]) {
      await using writer = await content.writer("r", { expected });
      expect(await codeFrom(writer.commit(wrong))).toBe(Code.FailedPrecondition);
    }
    expect(await codeFrom(content.info(expected))).toBe(Code.NotFound);
  });

  it("copies the blob when more is written, and drops it when truncated", async () => {
    await using storage = await openStorage();
    const expected = await putText(storage.stores.content, "hello");
    const { content } = storage.metadata.namespace(other);
    {
      await using writer = await content.writer("grown", { expected });
      await writer.write(text(" world"));
      expect(await writer.status()).toMatchObject({ ref: "grown", offset: 11 });
      const { digest } = await writer.commit();
      expect(digest).toBe(formatDigest("sha256", createHash("sha256").update("hello world").digest("hex")));
    }
    await using writer = await content.writer("new", { expected });
    await writer.truncate(0);
    expect((await writer.status()).offset).toBe(0);
    await writer.write(text("x"));
    expect((await writer.commit()).size).toBe(1);
  });

  it("keeps a blob for a shared ingest whose other holders are gone", async () => {
    await using storage = await openStorage();
    const expected = await putText(storage.stores.content, "hello");
    const { content } = storage.metadata.namespace(other);
    await (await content.writer("r", { expected }))[Symbol.asyncDispose]();
    await storage.stores.content.delete(expected);
    await storage.metadata.collect();
    expect(await Array.fromAsync(storage.content.list())).toHaveLength(1);
    await content.abort("r");
    await storage.metadata
      .namespace(other)
      .content.abort("r")
      .catch(() => {});
  });
});

describe("NamespacedContent, policy isolated", () => {
  it("wants the bytes, and keeps one copy of them", async () => {
    await using storage = await openStorage({ sharingPolicy: "isolated" });
    const digest = await putText(storage.stores.content, "hello");
    const { content } = storage.metadata.namespace(other);
    await using writer = await content.writer("r", { expected: digest, total: 5 });
    expect((await writer.status()).offset).toBe(0);
    await writer.write(text("hello"));
    await writer.commit({ digest, size: 5 });
    expect((await content.info(digest)).size).toBe(5);
    expect(await Array.fromAsync(storage.content.list())).toHaveLength(1);
  });

  it("shares what a shareable namespace holds", async () => {
    await using storage = await openStorage({ sharingPolicy: "isolated" });
    const expected = await putText(storage.stores.content, "hello");
    const label = "containerd.io/namespace.shareable";
    await storage.metadata.namespaces.setLabels(storage.stores.namespace, new Map([[label, "true"]]));
    await using writer = await storage.metadata.namespace(other).content.writer("r", { expected });
    expect((await writer.status()).offset).toBe(5);
  });
});

describe("leases of a view", () => {
  it("an unknown lease is not_found before a backend is touched", async () => {
    await using storage = await openStorage();
    const { content, snapshotter } = storage.leased("nobody");
    expect(await codeFrom(content.writer("r"))).toBe(Code.NotFound);
    expect(await codeFrom(snapshotter("native").prepare("k", ""))).toBe(Code.NotFound);
    expect(await Array.fromAsync(storage.content.listStatuses())).toEqual([]);
    expect(await Array.fromAsync(storage.native.list())).toEqual([]);
  });

  it("what exists already goes into the lease, and what is deleted leaves it", async () => {
    await using storage = await openStorage();
    const { stores, leased } = storage;
    await stores.leases.create({ id: "l", labels: new Map() });
    const expected = await putText(stores.content, "hello");
    await stores.snapshotter("native").prepare("k", "");
    expect(await codeFrom(leased("l").content.writer("r", { expected }))).toBe(Code.AlreadyExists);
    expect(await codeFrom(leased("l").snapshotter("native").prepare("k", ""))).toBe(Code.AlreadyExists);
    const types = async () => (await Array.fromAsync(stores.leases.listResources("l"))).map(({ type }) => type);
    expect((await types()).toSorted()).toEqual(["content", "snapshots/native"]);
    await leased("l").content.delete(expected);
    await leased("l").snapshotter("native").remove("k");
    expect(await types()).toEqual([]);
  });
});

describe("NamespacedSnapshotter", () => {
  it("passes on only labels for snapshotters, and keeps the backend's names apart", async () => {
    await using storage = await openStorage();
    const labels = new Map([
      ["mine", "1"],
      ["containerd.io/snapshot/x", "2"],
    ]);
    for (const name of [storage.stores.namespace, other]) {
      await storage.metadata.namespace(name).snapshotter("native").prepare("same", "", { labels });
    }
    const infos = await Array.fromAsync(storage.native.list());
    expect(infos.map(({ name }) => name.replace(/\/\d+\//, "/N/")).toSorted()).toEqual(["other/N/same", "test/N/same"]);
    for (const info of infos) expect(info.labels).toEqual(new Map([["containerd.io/snapshot/x", "2"]]));
    expect((await storage.stores.snapshotter("native").stat("same")).labels).toEqual(labels);
  });

  it("answers already_exists for a target that is known", async () => {
    await using storage = await openStorage();
    const snapshotter = storage.stores.snapshotter("native");
    await snapshotter.prepare("k", "");
    await snapshotter.commit("chain", "k");
    const labels = new Map([[SnapshotLabel.ref, "chain"]]);
    expect(await codeFrom(snapshotter.prepare("extract", "", { labels }))).toBe(Code.AlreadyExists);
    expect(await codeFrom(snapshotter.stat("extract"))).toBe(Code.NotFound);
  });

  it("adopts a target that the backend made by itself", async () => {
    await using directory = await temporaryDirectory("metadata");
    await using native = await openNativeSnapshotter({ root: directory.path });
    const labels = new Map([[SnapshotLabel.ref, "chain"]]);
    // As remote snapshotters do: the layer is there at once, under a name of the snapshotter's choice.
    const remote: Snapshotter = new Proxy(native, {
      get(target, name) {
        const value: unknown = Reflect.get(target, name);
        if (typeof value !== "function") return value;
        if (name !== "prepare") return value.bind(target);
        return async (key: string, parent: string) => {
          await native.prepare(key, parent, { labels });
          await native.commit(`${key}-remote`, key, { labels });
          throw alreadyExists("target");
        };
      },
    });
    await using storage = await openStorage({ snapshotters: new Map([["remote", remote]]) });
    const snapshotter = storage.stores.snapshotter("remote");
    expect(await codeFrom(snapshotter.prepare("extract", "", { labels }))).toBe(Code.AlreadyExists);
    expect(await snapshotter.stat("chain")).toMatchObject({ name: "chain", kind: "committed", parent: "" });
    expect((await Array.fromAsync(snapshotter.list())).map(({ name }) => name)).toEqual(["chain"]);
  });

  it("an unknown or missing snapshotter is invalid_argument", async () => {
    await using storage = await openStorage();
    for (const name of ["", "nobody"]) {
      expect(() => storage.stores.snapshotter(name)).toThrow(expect.objectContaining({ code: Code.InvalidArgument }));
    }
  });
});

/** As a store in another process: it answers that it has a blob before it looks at the bytes that are shown for it. */
class HastyStore extends MemoryContentStore {
  override async writer(ref: string, options?: WriterOptions): Promise<ContentWriter> {
    const writer = await super.writer(ref, options);
    return {
      write: (chunk) => writer.write(chunk),
      truncate: (size) => writer.truncate(size),
      status: () => writer.status(),
      digest: () => writer.digest(),
      commit: async (commit = {}) => {
        if (commit.digest !== undefined && this.blobs.has(commit.digest)) throw alreadyExists(commit.digest);
        return writer.commit(commit);
      },
      [Symbol.asyncDispose]: () => writer[Symbol.asyncDispose](),
    };
  }
}

describe("NamespacedContent, policy isolated, over a store in another process", () => {
  const sha512 = (content: string) => formatDigest("sha512", createHash("sha512").update(content).digest("hex"));

  it.each([
    ["is shown", "secret", undefined],
    ["is not", "guess!", Code.FailedPrecondition],
  ])("a blob under sha512, whose bytes the other namespace %s", async (_, shown, code) => {
    const content = new HastyStore();
    await using storage = await openStorage({ content, sharingPolicy: "isolated" });
    const digest = sha512("secret");
    const commit = async (stores: NamespacedStores, bytes: string) => {
      await using writer = await stores.content.writer("r", { expected: digest, total: bytes.length });
      await writer.write(text(bytes));
      await writer.commit({ digest, size: bytes.length });
    };
    await commit(storage.stores, "secret");
    const stores = storage.metadata.namespace(other);
    expect(await codeFrom(commit(stores, shown))).toBe(code);
    expect(await codeFrom(stores.content.info(digest))).toBe(code === undefined ? undefined : Code.NotFound);
    expect(await storage.stores.content.info(digest)).toMatchObject({ size: 6 });
  });

  it("a blob that was damaged on its way into the store is not taken", async () => {
    const content = new HastyStore();
    await using storage = await openStorage({ content });
    const digest = sha512("secret");
    content.blobs.set(digest, { bytes: text("damage"), labels: new Map() });
    await using writer = await storage.stores.content.writer("r", { total: 6 });
    await writer.write(text("secret"));
    expect(await codeFrom(writer.commit({ digest, size: 6 }))).toBe(Code.FailedPrecondition);
    expect(await codeFrom(storage.stores.content.info(digest))).toBe(Code.NotFound);
  });
});
