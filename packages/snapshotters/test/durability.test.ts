import { copyFile, mkdir, open, readdir, readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";

import { type Labels, noLabels } from "@berth/core/labels";
import type { Mount } from "@berth/core/mount";
import type { Snapshotter } from "@berth/core/snapshots";
import { shutdownFileSystem } from "@berth/linux/files";
import { mountAll, mountTemporary, unmountAll, unmountRecursive } from "@berth/linux/mount";
import { debianPath, runProgram, temporaryDirectory } from "@berth/testing";
import { describe, expect, it, vi } from "vitest";

import { openBlockfileSnapshotter } from "../src/blockfile.ts";
import { openBtrfsSnapshotter } from "../src/btrfs.ts";
import { DurableDirectory } from "../src/durable-directory.ts";
import { openErofsSnapshotter } from "../src/erofs.ts";
import { openNativeSnapshotter } from "../src/native.ts";
import { openOverlaySnapshotter } from "../src/overlayfs.ts";
import { activateMounts } from "./activate-mounts.ts";
import { makeBtrfs, makeScratch } from "./images.ts";

vi.stubEnv("PATH", debianPath());

const MIB = 1024 * 1024;
const limit = new Map([["containerd.io/snapshot/max-size", String(24 * MIB)]]);

interface Case {
  readonly name: string;
  readonly disk: "ext4" | "btrfs";
  readonly labels?: ReadonlyMap<string, string>;
  /** `scratch` is an empty file system in a file. */
  open(root: string, scratch: string): Promise<Snapshotter>;
}

const overlay = async (root: string): Promise<Snapshotter> => (await openOverlaySnapshotter({ root })).snapshotter;
const erofs = async (root: string): Promise<Snapshotter> => (await openErofsSnapshotter({ root })).snapshotter;

const CASES: readonly Case[] = [
  { name: "overlayfs", disk: "ext4", open: overlay },
  { name: "overlayfs with a limit", disk: "ext4", labels: limit, open: overlay },
  { name: "native", disk: "ext4", open: (root) => openNativeSnapshotter({ root }) },
  { name: "blockfile", disk: "ext4", open: (root, scratchFile) => openBlockfileSnapshotter({ root, scratchFile }) },
  { name: "erofs", disk: "ext4", open: erofs },
  { name: "erofs in block mode", disk: "ext4", labels: limit, open: erofs },
  { name: "btrfs", disk: "btrfs", open: (root) => openBtrfsSnapshotter({ root }) },
];

/** A disk in a file that can lose its power. */
async function openDisk(kind: "ext4" | "btrfs") {
  await using made = new AsyncDisposableStack();
  const { path } = made.use(await temporaryDirectory("snapshots"));
  const [image, place] = [join(path, "disk.img"), join(path, "disk")];
  await mkdir(place);
  if (kind === "btrfs") await makeBtrfs(image);
  else {
    await writeFile(image, "");
    await truncate(image, 512 * MIB);
    expect(await runProgram("mkfs.ext4", ["-q", image])).toMatchObject({ code: 0 });
  }
  made.defer(() => unmountRecursive(path));
  const mount = (file: string): Promise<void> => mountAll([{ type: kind, source: file, options: ["loop"] }], place);
  await mount(image);
  const cut = `${image}.cut`;
  const cutPower = async (): Promise<void> => {
    if (kind === "ext4") {
      await using directory = await open(place);
      shutdownFileSystem(directory.fd, "nothing");
    }
    // What has not been written to the file yet, the copy does not have: this kernel shuts no btrfs down, and an ext4 that was may
    // stay mounted in a namespace that somebody made meanwhile, so that mounting it again would give what has no power.
    await copyFile(image, cut);
  };
  const restore = async (): Promise<void> => {
    await unmountRecursive(path);
    await mount(cut);
  };
  const owned = made.move();
  return { path, place, cutPower, restore, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** This commits a layer with a file while it is still mounted: an unmount would write to the disk what nobody asked for. */
async function commitFile(
  snapshotter: Snapshotter,
  layer: { readonly name: string; readonly parent: string; readonly labels: Labels | undefined },
  path: string,
  then: () => Promise<void> = async () => {},
  isSettled = false,
): Promise<void> {
  const { name, parent, labels = noLabels } = layer;
  await using mounted = await mountAt(await snapshotter.prepare("work", parent, { labels }), path);
  await writeFile(join(mounted.path, name), new Uint8Array(2 * MIB).fill(name.charCodeAt(0)));
  await mkdir(join(mounted.path, `${name}.d`));
  if (isSettled) await snapshotter.settle?.("work");
  await snapshotter.commit(name, "work");
  await then();
}

async function mountAt(mounts: readonly Mount[], path: string): Promise<AsyncDisposable & { readonly path: string }> {
  const target = await mountTemporary([], { directory: path });
  const mounted = await activateMounts(mounts, target.path, path);
  const dispose = async (): Promise<void> => {
    await mounted[Symbol.asyncDispose]();
    await unmountAll(target.path);
    await target[Symbol.asyncDispose]();
  };
  return { path: target.path, [Symbol.asyncDispose]: dispose };
}

describe("a commit that was answered survives a power cut", () => {
  it.each(
    CASES.flatMap((each) => [
      { ...each, isSettled: false },
      { ...each, name: `${each.name}, settled before`, isSettled: true },
    ]),
  )("of $name", async ({ disk: kind, labels, open: openSnapshotter, isSettled }) => {
    await using disk = await openDisk(kind);
    const scratch = await makeScratch(join(disk.path, "empty.img"));
    const root = join(disk.place, "root");
    {
      await using snapshotter = await openSnapshotter(root, scratch);
      await commitFile(snapshotter, { name: "one", parent: "", labels }, disk.path, undefined, isSettled);
      await commitFile(snapshotter, { name: "two", parent: "one", labels }, disk.path, disk.cutPower, isSettled);
      // What is said afterwards may be lost, and fails where the disk is gone.
      await snapshotter.prepare("late", "two").catch(() => {});
    }
    await disk.restore();
    await using again = await openSnapshotter(root, scratch);
    await again.cleanup?.();
    await using mounted = await mountAt(await again.view("look", "two"), disk.path);
    expect((await readdir(mounted.path)).toSorted()).toEqual(["one", "one.d", "two", "two.d"]);
    for (const name of ["one", "two"]) {
      const expected = Buffer.alloc(2 * MIB, name.charCodeAt(0));
      expect(expected.equals(await readFile(join(mounted.path, name)))).toBe(true);
    }
    await again.prepare("next", "two");
    await again.commit("three", "next");
  });
});

describe("concurrent commits", () => {
  it.each(CASES.filter(({ labels }) => labels === undefined))(
    "of $name are all answered",
    async ({ disk: kind, open: openSnapshotter }) => {
      await using disk = await openDisk(kind);
      const scratch = await makeScratch(join(disk.path, "empty.img"));
      await using snapshotter = await openSnapshotter(join(disk.place, "root"), scratch);
      const keys = Array.from({ length: 8 }, (_, index) => `k${index}`);
      for (const key of keys) await snapshotter.prepare(key, "");
      await Promise.all(keys.map((key) => snapshotter.commit(`${key}!`, key)));
      const infos = await Array.fromAsync(snapshotter.list());
      expect(infos.map(({ name, kind: is }) => [name, is])).toEqual(keys.map((key) => [`${key}!`, "committed"]));
    },
  );
});

it.each(["after", "while"])(
  "what is written to mounts asked for %s a snapshot settles is not settled",
  async (when) => {
    await using directory = await temporaryDirectory("snapshots");
    await using snapshotter = await openNativeSnapshotter({ root: join(directory.path, "root") });
    await snapshotter.prepare("work", "");
    const settling = snapshotter.settle?.("work");
    await (when === "after" ? settling : setImmediate());
    const [mount] = await snapshotter.mounts("work");
    await settling;
    await writeFile(join(mount?.source ?? "", "late"), new Uint8Array(2 * MIB).fill(7));
    await snapshotter.commit("one", "work");
    expect((await snapshotter.usage("one")).size).toBeGreaterThanOrEqual(2 * MIB);
  },
);

it("a snapshot that is being filled counts as written to before it has a record", async () => {
  await using directory = await temporaryDirectory("snapshots");
  const opening = vi.spyOn(DurableDirectory, "open");
  await using snapshotter = await openNativeSnapshotter({ root: join(directory.path, "root") });
  const active = opening.mock.calls[0]?.[1].active ?? (() => []);
  opening.mockRestore();
  const preparing = snapshotter.prepare("work", "");
  expect(Array.from(active())).toHaveLength(1);
  await expect(snapshotter.stat("work")).rejects.toThrow();
  await preparing;
  expect(new Set(active()).size).toBe(1);
  await snapshotter.commit("one", "work");
  expect(Array.from(active())).toEqual([]);
});
