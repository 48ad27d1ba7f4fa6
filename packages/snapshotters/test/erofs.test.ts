import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { copyFile, lstat, mkdir, readdir, readFile, readlink, rm, unlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";

import { silentLogger } from "@berth/core/log";
import { Code, codeOf } from "@berth/errors";
import { mountAll, mountTemporary, unmountAll } from "@berth/linux/mount";
import { debianPath, temporaryDirectory } from "@berth/testing";
import { describe, expect, it, vi } from "vitest";

import { sealLayer } from "../src/erofs/seal-layer.ts";
import { TreeWorkers } from "../src/tree-workers.ts";
import { ErofsFile, type ErofsSnapshotterOptions, openErofsSnapshotter } from "../src/erofs.ts";
import { activateMounts } from "./activate-mounts.ts";

vi.stubEnv("PATH", debianPath());

async function openSubject(options: Partial<ErofsSnapshotterOptions> = {}) {
  await using made = new AsyncDisposableStack();
  const { path } = made.use(await temporaryDirectory("snapshots"));
  const root = join(path, "root");
  const { snapshotter } = await openErofsSnapshotter({ root, ...options });
  made.use(snapshotter);
  const owned = made.move();
  const names = async (id: number) => (await readdir(join(root, "snapshots", String(id)))).toSorted();
  return { snapshotter, root, path, names, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** This reads what an image holds. */
async function filesOf(image: string, directory: string): Promise<Record<string, string>> {
  const place = join(directory, "look");
  await mkdir(place, { recursive: true });
  await mountAll([{ type: "erofs", source: image, options: ["ro", "loop"] }], place);
  try {
    const names = await readdir(place);
    return Object.fromEntries(
      await Promise.all(names.map(async (name) => [name, await readFile(join(place, name), "utf8")] as const)),
    );
  } finally {
    await unmountAll(place);
  }
}

async function codeFrom(promise: Promise<unknown>): Promise<Code | "resolved"> {
  return promise.then(() => "resolved" as const, codeOf);
}

describe("erofs snapshotter", () => {
  it("keeps what is written in fs until the commit, and then layer.erofs alone", async () => {
    await using subject = await openSubject();
    const { snapshotter, root, names, path } = subject;
    const [mount] = await snapshotter.prepare("a", "", {
      labels: new Map([
        ["containerd.io/snapshot/uidmapping", "0:4321:65536"],
        ["containerd.io/snapshot/gidmapping", "0:1234:65536"],
      ]),
    });
    expect(await names(1)).toEqual([ErofsFile.marker, "fs", "work"]);
    await writeFile(join(mount?.source ?? "", "file"), "content");
    await snapshotter.commit("A", "a");
    expect(await names(1)).toEqual([ErofsFile.marker, "fs", "layer.erofs"]);
    expect(await readdir(join(root, "snapshots/1/fs"))).toEqual([]);
    expect(await filesOf(join(root, "snapshots/1/layer.erofs"), path)).toEqual({ file: "content" });
    await snapshotter.prepare("b", "A");
    expect(await lstat(join(root, "snapshots/2/fs"))).toMatchObject({ uid: 4321, gid: 1234 });
    await snapshotter.view("v", "A");
    expect(await names(3)).toEqual(["fs"]);
    for (const key of ["v", "b", "A"]) await snapshotter.remove(key);
    expect(await readdir(join(root, "snapshots"))).toEqual([]);
  });

  it("commits a layer that the differ wrote as it is", async () => {
    await using subject = await openSubject();
    const { snapshotter, root, path } = subject;
    await snapshotter.prepare("a", "");
    await writeFile(join(root, "snapshots/1/fs/file"), "1");
    await snapshotter.commit("A", "a");
    await snapshotter.prepare("b", "");
    const layer = join(root, "snapshots/2/layer.erofs");
    await copyFile(join(root, "snapshots/1/layer.erofs"), layer);
    const before = await readFile(layer);
    expect(await snapshotter.mounts("b")).toEqual([
      { type: "erofs", source: layer, target: "", options: ["ro", "loop"] },
    ]);
    await snapshotter.commit("B", "b");
    expect((await readFile(layer)).equals(before)).toBe(true);
    expect(await filesOf(layer, path)).toEqual({ file: "1" });
  });

  it("makes the layer again where a commit was cut off or failed", async () => {
    await using subject = await openSubject();
    const { snapshotter, root, names, path } = subject;
    const [mount] = await snapshotter.prepare("a", "");
    const directory = join(root, "snapshots/1");
    // As after a crash between the layer and the record.
    await writeFile(join(directory, ErofsFile.sealing), "");
    await writeFile(join(directory, "layer.erofs"), "an old layer");
    await writeFile(join(directory, "layer.erofs.new"), "half a layer");
    expect(await snapshotter.mounts("a")).toEqual([mount]);
    await writeFile(join(directory, "fs/late"), "2");
    const cancelling = new AbortController();
    const committed = snapshotter.commit("A", "a", { signal: cancelling.signal });
    setImmediate(() => cancelling.abort());
    expect(await codeFrom(committed)).toBe(Code.Canceled);
    expect(await names(1)).toEqual([ErofsFile.marker, "fs", "work"]);
    await snapshotter.commit("A", "a");
    expect(await filesOf(join(directory, "layer.erofs"), path)).toEqual({ late: "2" });
  });

  it("stages a layer from the cache, mounts it read-only and commits it", async () => {
    await using cache = await temporaryDirectory("snapshots");
    const hex = "ab".repeat(32);
    const cached = join(cache.path, `sha256/ab/${hex}.erofs`);
    await using subject = await openSubject({ layerContentCaches: ["/no/such/cache", cache.path] });
    const { snapshotter, root } = subject;
    await snapshotter.prepare("a", "");
    await writeFile(join(root, "snapshots/1/fs/file"), "cached");
    await snapshotter.commit("A", "a");
    await mkdir(dirname(cached), { recursive: true });
    await copyFile(join(root, "snapshots/1/layer.erofs"), cached);
    await writeFile(`${cached}.dmverity`, "{}");
    const labels = (diffId: string) =>
      new Map([
        ["containerd.io/snapshot.ref", "chain"],
        ["containerd.io/snapshot/diff-id", diffId],
      ]);
    const [mount] = await snapshotter.prepare("hit", "", { labels: labels(`sha256:${hex}`) });
    const layer = join(root, "snapshots/2/layer.erofs");
    expect(mount).toMatchObject({ type: "erofs", source: layer });
    expect(mount?.options).toEqual(["ro", "loop", `X-containerd.dmverity=${layer}.dmverity`]);
    expect(await readlink(layer)).toBe(cached);
    await snapshotter.commit("hit!", "hit", { parent: "A" });
    for (const diffId of [`sha256:${"cd".repeat(32)}`, "../../etc", "sha256:.."]) {
      const [missed] = await snapshotter.prepare(diffId, "", { labels: labels(diffId) });
      expect(missed?.type).toBe("bind");
    }
    // Only without a parent: the differ would write through the link.
    expect((await snapshotter.prepare("child", "A", { labels: labels(`sha256:${hex}`) })).at(-1)?.type).toBe(
      "format/mkdir/overlay",
    );
    await snapshotter.remove("hit!");
    expect(existsSync(cached)).toBe(true);
  });

  it("makes layers immutable, and removes them all the same", async () => {
    await using subject = await openSubject({ setImmutable: true });
    const { snapshotter, root } = subject;
    await snapshotter.prepare("a", "");
    await snapshotter.commit("A", "a");
    const layer = join(root, "snapshots/1/layer.erofs");
    await expect(unlink(layer)).rejects.toMatchObject({ code: "EPERM" });
    await snapshotter.remove("A");
    expect(existsSync(layer)).toBe(false);
  });

  it.each([true, false])(
    "a commit that was cut off is done again with what was written since, immutable: %s",
    async (setImmutable) => {
      await using directory = await temporaryDirectory("snapshots");
      const root = join(directory.path, "root");
      const place = join(root, "snapshots/1");
      await using trees = new TreeWorkers();
      {
        await using snapshotter = (await openErofsSnapshotter({ root, setImmutable })).snapshotter;
        await snapshotter.prepare("a", "");
        await writeFile(join(place, "fs/before"), "b");
        // Not disposed: as a kill before the record is written leaves it.
        await sealLayer(
          { directory: place, mounts: join(root, "tmpmounts"), trees, setImmutable, log: silentLogger },
          {},
        );
      }
      await using snapshotter = (await openErofsSnapshotter({ root, setImmutable })).snapshotter;
      await writeFile(join(place, "fs/after"), "a");
      await snapshotter.commit("A", "a");
      expect(await filesOf(join(place, "layer.erofs"), directory.path)).toEqual({ before: "b", after: "a" });
      await snapshotter.remove("A");
    },
  );

  it("what was written counts for as long as the layer of a failed commit cannot be removed", async () => {
    await using subject = await openSubject();
    const { snapshotter, root } = subject;
    await snapshotter.prepare("a", "");
    const place = join(root, "snapshots/1");
    await using trees = new TreeWorkers();
    const sealed = await sealLayer(
      { directory: place, mounts: join(root, "tmpmounts"), trees, setImmutable: false, log: silentLogger },
      {},
    );
    await rm(join(place, "layer.erofs"));
    // A directory is nothing that it removes.
    await mkdir(join(place, "layer.erofs"));
    expect(await codeFrom(Promise.resolve(sealed[Symbol.asyncDispose]()))).not.toBe("resolved");
    expect(existsSync(join(place, ErofsFile.sealing))).toBe(true);
  });

  it("removes what was written where a kill after the record of a commit has left it", async () => {
    await using directory = await temporaryDirectory("snapshots");
    const root = join(directory.path, "root");
    const place = join(root, "snapshots/1");
    {
      await using snapshotter = (await openErofsSnapshotter({ root })).snapshotter;
      await snapshotter.prepare("a", "");
      await snapshotter.commit("A", "a");
      await writeFile(join(place, ErofsFile.sealing), "");
      await mkdir(join(place, "work"));
      await writeFile(join(place, "fs/big"), "content");
      await snapshotter.prepare("active", "");
      await writeFile(join(root, "snapshots/2/fs/file"), "content");
      await writeFile(join(root, "snapshots/2", ErofsFile.sealing), "");
      await snapshotter.prepare("b", "");
      await snapshotter.commit("B", "b");
      await writeFile(join(root, "snapshots/3", ErofsFile.sealing), "");
      await writeFile(join(root, "snapshots/3/fs/only"), "copy");
      await rm(join(root, "snapshots/3/layer.erofs"));
    }
    await using _snapshotter = (await openErofsSnapshotter({ root })).snapshotter;
    expect((await readdir(place)).toSorted()).toEqual([ErofsFile.marker, "fs", "layer.erofs"]);
    expect(await readdir(join(place, "fs"))).toEqual([]);
    expect(await readdir(join(root, "snapshots/2/fs"))).toEqual(["file"]);
    // a disk that lost the layer has this left of it
    expect(await readdir(join(root, "snapshots/3/fs"))).toEqual(["only"]);
  });

  it("commits a writable image that is still mounted as it is seen there", async () => {
    await using subject = await openSubject({ defaultSize: 32 << 20 });
    const { snapshotter, root, path, names } = subject;
    const target = join(path, "target");
    await mkdir(target);
    {
      await using _mounted = await activateMounts(await snapshotter.prepare("a", ""), target, path);
      await writeFile(join(target, "file"), "not on any disk yet");
      await snapshotter.commit("A", "a");
    }
    expect(await filesOf(join(root, "snapshots/1/layer.erofs"), path)).toEqual({ file: "not on any disk yet" });
    expect(await names(1)).toEqual([ErofsFile.marker, "fs", "layer.erofs"]);
    // Never mounted: an empty layer.
    await snapshotter.prepare("b", "A");
    await snapshotter.commit("B", "b");
    expect(await filesOf(join(root, "snapshots/2/layer.erofs"), path)).toEqual({});
  });

  it("tells a full disk at a commit, leaves the snapshot as it was, and commits it when there is room", async () => {
    await using disk = await mountTemporary([{ type: "tmpfs", source: "tmpfs", options: ["size=32m"] }]);
    const root = join(disk.path, "root");
    await using opened = await openErofsSnapshotter({ root }).then(({ snapshotter }) => snapshotter);
    await opened.prepare("a", "");
    const file = join(root, "snapshots/1/fs/file");
    await writeFile(file, randomBytes(16 << 20));
    await writeFile(join(disk.path, "filler"), new Uint8Array(32 << 20)).catch(() => {});
    expect(await codeFrom(opened.commit("A", "a"))).toBe(Code.ResourceExhausted);
    expect((await readdir(join(root, "snapshots/1"))).toSorted()).toEqual([ErofsFile.marker, "fs", "work"]);
    await unlink(join(disk.path, "filler"));
    await writeFile(file, "small");
    await opened.commit("A", "a");
    expect(await filesOf(join(root, "snapshots/1/layer.erofs"), disk.path)).toEqual({ file: "small" });
  });

  it("takes away the mount that a crash left", async () => {
    await using directory = await temporaryDirectory("snapshots");
    const left = join(directory.path, "tmpmounts/berth-mount-x");
    await mkdir(left, { recursive: true });
    await mountAll([{ type: "tmpfs", source: "tmpfs", options: [] }], left);
    const { snapshotter } = await openErofsSnapshotter({ root: directory.path });
    await snapshotter[Symbol.asyncDispose]();
    expect(existsSync(join(directory.path, "tmpmounts"))).toBe(false);
  });

  it("tells that the layer of a parent is gone, or is not described where that is demanded", async () => {
    await using subject = await openSubject();
    const { snapshotter, root } = subject;
    await snapshotter.prepare("a", "");
    await snapshotter.commit("A", "a");
    await snapshotter.view("v", "A");
    await rm(join(root, "snapshots/1/layer.erofs"));
    expect(await codeFrom(snapshotter.mounts("v"))).toBe(Code.DataLoss);
    await using strict = await openSubject({ dmverityMode: "on" });
    await strict.snapshotter.prepare("a", "");
    await strict.snapshotter.commit("A", "a");
    expect(await codeFrom(strict.snapshotter.view("v", "A"))).toBe(Code.FailedPrecondition);
  });
});
