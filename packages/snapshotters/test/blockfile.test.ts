import { chmod, lstat, mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";

import type { Mount } from "@berth/core/mount";
import type { Snapshotter } from "@berth/core/snapshots";
import { Code, codeOf } from "@berth/errors";
import { mountTemporary, statFs, withTemporaryMount } from "@berth/linux/mount";
import { temporaryDirectory } from "@berth/testing";
import { describe, expect, it } from "vitest";

import { type BlockfileSnapshotterOptions, findMissingScratch, openBlockfileSnapshotter } from "../src/blockfile.ts";
import { makeScratch } from "./images.ts";

const MIB = 1024 * 1024;

async function openSubject(options: Partial<BlockfileSnapshotterOptions> = {}) {
  await using made = new AsyncDisposableStack();
  const { path } = made.use(await temporaryDirectory("snapshots"));
  const scratchFile = await makeScratch(join(path, "empty.img"));
  const root = join(path, "root");
  const snapshotter = made.use(await openBlockfileSnapshotter({ root, scratchFile, ...options }));
  const owned = made.move();
  return { snapshotter, root, scratchFile, path, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

const limit = (bytes: number): ReadonlyMap<string, string> =>
  new Map([["containerd.io/snapshot/max-size", String(bytes)]]);

async function codeFrom(promise: Promise<unknown>): Promise<Code | "resolved"> {
  return promise.then(() => "resolved" as const, codeOf);
}

async function fileSystemBytes(mounts: readonly Mount[]): Promise<number> {
  return withTemporaryMount(mounts, {}, (path) => {
    const { blocks, blockSize } = statFs(path);
    return Number(blocks) * blockSize;
  });
}

async function commit(snapshotter: Snapshotter, name: string, parent: string, file: string, bytes: number) {
  await withTemporaryMount(await snapshotter.prepare("work", parent), {}, (path) =>
    writeFile(join(path, file), new Uint8Array(bytes).fill(1)),
  );
  await snapshotter.commit(name, "work");
}

describe("blockfile snapshotter", () => {
  it("lays out scratch and snapshots/<id>, and mounts with containerd's options", async () => {
    await using subject = await openSubject({ mountOptions: ["noatime"] });
    const { snapshotter, root } = subject;
    const mount = (id: number, mode: string) => [
      { type: "ext4", source: join(root, `snapshots/${id}`), target: "", options: ["noatime", "loop", mode] },
    ];
    expect(await snapshotter.prepare("a", "")).toEqual(mount(1, "rw"));
    expect(await snapshotter.view("empty", "")).toEqual(mount(2, "ro"));
    await snapshotter.commit("A", "a");
    expect(await snapshotter.prepare("b", "A")).toEqual(mount(3, "rw"));
    expect(await snapshotter.view("v", "A")).toEqual(mount(1, "ro"));
    expect((await readdir(root)).toSorted()).toEqual(["metadata.mdb", "metadata.mdb-lock", "scratch", "snapshots"]);
    expect((await readdir(join(root, "snapshots"))).toSorted()).toEqual(["1", "2", "3"]);
    expect((await lstat(join(root, "snapshots/3"))).mode & 0o777).toBe(0o600);
    for (const key of ["b", "v", "empty", "A"]) await snapshotter.remove(key);
    expect(await readdir(join(root, "snapshots"))).toEqual([]);
  });

  it("copies no holes", async () => {
    await using subject = await openSubject();
    await subject.snapshotter.prepare("a", "");
    const { size, blocks } = await stat(join(subject.root, "snapshots/1"));
    expect(size).toBe(32 * MIB);
    expect(blocks * 512).toBeLessThan(8 * MIB);
  });

  it("gives the file system the size of the label, larger or smaller than its parent's", async () => {
    await using subject = await openSubject();
    const { snapshotter } = subject;
    await commit(snapshotter, "base", "", "file", 4 * MIB);
    for (const bytes of [16 * MIB, 24 * MIB + 1000, 32 * MIB, 200 * MIB]) {
      const key = `limit ${bytes}`;
      const mounts = await snapshotter.prepare(key, "base", { labels: limit(bytes) });
      expect((await stat(mounts[0]?.source ?? "")).size).toBe(bytes - (bytes % 4096));
      const size = await fileSystemBytes(mounts);
      expect(size).toBeLessThanOrEqual(bytes);
      expect(size).toBeGreaterThan(bytes * 0.8);
    }
    expect(await fileSystemBytes(await snapshotter.view("look", "base"))).toBeGreaterThan(24 * MIB);
  });

  it("refuses a limit that is too small for what is there, and leaves nothing", async () => {
    await using subject = await openSubject();
    const { snapshotter, root } = subject;
    await commit(snapshotter, "base", "", "file", 12 * MIB);
    expect(await codeFrom(snapshotter.prepare("a", "base", { labels: limit(8 * MIB) }))).toBe(Code.InvalidArgument);
    expect(await readdir(join(root, "snapshots"))).toEqual(["1"]);
    await snapshotter.prepare("a", "base", { labels: limit(24 * MIB) });
  });

  it("tells a damaged file system", async () => {
    await using subject = await openSubject();
    const { snapshotter, root } = subject;
    await commit(snapshotter, "base", "", "file", 1000);
    await writeFile(join(root, "snapshots/1"), new Uint8Array(2 * MIB).fill(0xff), { flag: "r+" });
    expect(await codeFrom(snapshotter.prepare("a", "base", { labels: limit(64 * MIB) }))).toBe(Code.DataLoss);
  });

  it("keeps its scratch file, or copies it again where that is asked for", async () => {
    await using subject = await openSubject();
    const { path, scratchFile } = subject;
    const root = join(path, "second");
    const open = async (options: Partial<BlockfileSnapshotterOptions>) => {
      await using _opened = await openBlockfileSnapshotter({ root, ...options });
      return (await readFile(join(root, "scratch"))).length / MIB;
    };
    expect(await open({ scratchFile })).toBe(32);
    const larger = await makeScratch(join(path, "larger.img"), 40);
    expect(await open({ scratchFile: larger })).toBe(32);
    expect(await open({})).toBe(32);
    expect(await open({ scratchFile: larger, recreateScratch: true })).toBe(40);
  });

  it("says what is wrong with the scratch file", async () => {
    await using directory = await temporaryDirectory("snapshots");
    const root = join(directory.path, "root");
    const wrong = join(directory.path, "wrong");
    await writeFile(wrong, "no file system");
    expect(await findMissingScratch({ root })).toBe("no scratch file generator");
    expect(await codeFrom(openBlockfileSnapshotter({ root }))).toBe(Code.FailedPrecondition);
    expect(await codeFrom(openBlockfileSnapshotter({ root, scratchFile: wrong }))).toBe(Code.FailedPrecondition);
    await rm(join(root, "scratch"));
    const missing = join(directory.path, "missing");
    expect(await codeFrom(openBlockfileSnapshotter({ root, scratchFile: missing }))).toBe(Code.NotFound);
    const good = await makeScratch(join(directory.path, "good"), 8);
    const type = { root, scratchFile: good, fsType: "xfs" };
    expect(await codeFrom(openBlockfileSnapshotter(type))).toBe(Code.FailedPrecondition);
    await openBlockfileSnapshotter({ ...type, fsType: "ext4" }).then((opened) => opened[Symbol.asyncDispose]());
  });

  it("tells a full disk, and leaves nothing", async () => {
    await using directory = await temporaryDirectory("snapshots");
    await using disk = await mountTemporary([{ type: "tmpfs", source: "tmpfs", options: ["size=16m"] }]);
    const root = join(disk.path, "root");
    const scratchFile = await makeScratch(join(directory.path, "empty.img"));
    await using snapshotter = await openBlockfileSnapshotter({ root, scratchFile });
    await writeFile(join(disk.path, "filler"), new Uint8Array(16 << 20)).catch(() => {});
    expect(await codeFrom(snapshotter.prepare("a", ""))).toBe(Code.ResourceExhausted);
    expect(await readdir(join(root, "snapshots"))).toEqual([]);
    await rm(join(disk.path, "filler"));
    await snapshotter.prepare("a", "");
  });

  it("leaves what a crash left to cleanup", async () => {
    await using subject = await openSubject();
    const { snapshotter, root } = subject;
    await snapshotter.prepare("kept", "");
    await writeFile(join(root, "snapshots/new-1"), "half a copy");
    await writeFile(join(root, "snapshots/77"), "of a removed snapshot");
    await mkdir(join(root, "snapshots/78"));
    await chmod(join(root, "snapshots/77"), 0);
    await snapshotter.cleanup?.();
    expect(await readdir(join(root, "snapshots"))).toEqual(["1"]);
  });
});
