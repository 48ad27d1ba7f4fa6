import { existsSync } from "node:fs";
import { link, lstat, mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";

import type { Snapshotter } from "@berth/core/snapshots";
import { lgetxattr, lsetxattr } from "@berth/linux/files";
import { temporaryDirectory } from "@berth/testing";
import {
  findLoopDevices,
  isMountPoint,
  mountTemporary,
  readMountInfo,
  unmountAll,
  unmountRecursive,
  withTemporaryMount,
} from "@berth/linux/mount";
import { describe, expect, it } from "vitest";

import { openOverlaySnapshotter, type OverlaySnapshotterOptions } from "../src/overlayfs.ts";

const MIB = 1024 * 1024;
const labels = new Map([["containerd.io/snapshot/max-size", String(64 * MIB)]]);

async function openSubject(options: Partial<OverlaySnapshotterOptions> = {}) {
  await using made = new AsyncDisposableStack();
  const { path: root } = made.use(await temporaryDirectory("snapshots"));
  made.defer(() => unmountRecursive(root));
  const { snapshotter } = await openOverlaySnapshotter({ root, ...options });
  made.use(snapshotter);
  await snapshotter.prepare("b", "");
  await writeFile(join(root, "snapshots/1/fs/below"), "base");
  await mkdir(join(root, "snapshots/1/fs/d"));
  await writeFile(join(root, "snapshots/1/fs/d/hidden"), "base");
  await snapshotter.commit("base", "b");
  const owned = made.move();
  const at = (path: string): string => join(root, "snapshots", path);
  return { snapshotter, root, at, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

async function reopen<T>(root: string, use: (snapshotter: Snapshotter) => Promise<T>): Promise<T> {
  const { snapshotter } = await openOverlaySnapshotter({ root });
  await using _snapshotter = snapshotter;
  return await use(snapshotter);
}

describe("overlayfs snapshots with a limit", () => {
  it("lie in a sparse image that is mounted beside it, and give the upper directory its owner", async () => {
    await using subject = await openSubject({ upperdirLabel: true });
    const { snapshotter, at } = subject;
    const [mount] = await snapshotter.prepare("a", "base", {
      labels: new Map([
        ...labels,
        ["containerd.io/snapshot/uidmapping", "0:4321:65536"],
        ["containerd.io/snapshot/gidmapping", "0:1234:65536"],
      ]),
    });
    expect(mount?.options).toEqual([
      "uidmap=0:4321:65536",
      "gidmap=0:1234:65536",
      `workdir=${at("2/limit/work")}`,
      `upperdir=${at("2/limit/fs")}`,
      `lowerdir=${at("1/fs")}`,
      "index=off",
    ]);
    expect((await readdir(at("2"))).toSorted()).toEqual(["limit", "limit.img"]);
    const { size, blocks, mode } = await stat(at("2/limit.img"));
    expect([size, mode & 0o777]).toEqual([64 * MIB, 0o600]);
    expect(blocks * 512).toBeLessThan(8 * MIB);
    expect(await lstat(at("2/limit/fs"))).toMatchObject({ uid: 4321, gid: 1234 });
    expect((await snapshotter.stat("a")).labels.get("containerd.io/snapshot/overlay.upperdir")).toBe(at("2/limit/fs"));
    // Neither a label that changes nor a view has any say in it.
    await snapshotter.update({ name: "a", labels: new Map() });
    expect((await snapshotter.mounts("a"))[0]?.options).toContain(`upperdir=${at("2/limit/fs")}`);
    await snapshotter.view("v", "base", { labels });
    expect(await readdir(at("3"))).toEqual(["fs"]);
  });

  it("are committed with whiteouts, opaque directories, attributes and links", async () => {
    await using subject = await openSubject();
    const { snapshotter, at } = subject;
    await withTemporaryMount(await snapshotter.prepare("a", "base", { labels }), {}, async (path) => {
      await rm(join(path, "below"));
      await rm(join(path, "d"), { recursive: true });
      await mkdir(join(path, "d"));
      await writeFile(join(path, "file"), "content");
      await link(join(path, "file"), join(path, "d/link"));
      lsetxattr(join(path, "file"), "security.capability", Uint8Array.from([1, 0, 0, 2, ...Array(16).fill(0)]));
    });
    await snapshotter.commit("A", "a");
    expect(await readdir(at("2"))).toEqual(["fs"]);
    expect((await lstat(at("2/fs/below"))).isCharacterDevice()).toBe(true);
    expect(new TextDecoder().decode(lgetxattr(at("2/fs/d"), "trusted.overlay.opaque"))).toBe("y");
    expect(lgetxattr(at("2/fs/file"), "security.capability")).toHaveLength(20);
    expect((await lstat(at("2/fs/file"))).nlink).toBe(2);
    await withTemporaryMount(await snapshotter.view("v", "A"), {}, async (path) => {
      expect((await readdir(path)).toSorted()).toEqual(["d", "file"]);
      expect(await readdir(join(path, "d"))).toEqual(["link"]);
    });
  });

  it("are mounted again after a restart of the machine, and where the mount was taken away", async () => {
    await using subject = await openSubject();
    const { snapshotter, at, root } = subject;
    await withTemporaryMount(await snapshotter.prepare("a", "base", { labels }), {}, (path) =>
      writeFile(join(path, "file"), "kept"),
    );
    await snapshotter[Symbol.asyncDispose]();
    expect(isMountPoint(at("2/limit"))).toBe(true);
    await unmountAll(at("2/limit"));
    await reopen(root, async (again) => {
      expect(isMountPoint(at("2/limit"))).toBe(true);
      {
        await using mounted = await mountTemporary(await again.mounts("a"));
        await unmountAll(at("2/limit"));
        await writeFile(join(mounted.path, "late"), "of a container that runs");
        await Promise.all(Array.from({ length: 5 }, () => again.mounts("a")));
        expect(readMountInfo().filter(({ mountPoint }) => mountPoint === at("2/limit"))).toHaveLength(1);
        // One file system, not two on one file.
        expect(findLoopDevices(at("2/limit.img"))).toHaveLength(1);
        expect(await readFile(at("2/limit/fs/late"), "utf8")).toBe("of a container that runs");
      }
      await again.commit("A", "a");
      expect((await readdir(at("2/fs"))).toSorted()).toEqual(["file", "late"]);
    });
  });

  it("are removed under a container that still runs, and leave no loop device", async () => {
    await using subject = await openSubject({ syncRemove: true });
    const { snapshotter, at } = subject;
    const [loop = ""] = await (async () => {
      await using mounted = await mountTemporary(await snapshotter.prepare("a", "base", { labels }));
      const devices = findLoopDevices(at("2/limit.img"));
      await snapshotter.remove("a");
      expect(existsSync(at("2"))).toBe(false);
      await writeFile(join(mounted.path, "file"), "still there");
      expect(await readFile(join(mounted.path, "file"), "utf8")).toBe("still there");
      return devices;
    })();
    expect(loop).toMatch(/^\/dev\/loop\d+$/);
    const backing = await readFile(`/sys/block/${loop.slice("/dev/".length)}/loop/backing_file`, "utf8").catch(
      () => "",
    );
    expect(backing).not.toContain(at(""));
  });

  it("stay when somebody is in there, and go with a later cleanup", async () => {
    await using subject = await openSubject();
    const { snapshotter, at } = subject;
    await snapshotter.prepare("a", "base", { labels });
    await writeFile(at("2/limit/fs/file"), "not deleted through the mount");
    await snapshotter.remove("a");
    {
      await using _open = await open(at("2/limit/fs/file"));
      await snapshotter.cleanup?.();
      expect(await readFile(at("2/limit/fs/file"), "utf8")).toBe("not deleted through the mount");
    }
    await snapshotter.cleanup?.();
    expect(existsSync(at("2"))).toBe(false);
  });

  it("leave nothing half-made where a process was killed", async () => {
    await using subject = await openSubject();
    const { snapshotter, at, root } = subject;
    await snapshotter.prepare("a", "base", { labels });
    await writeFile(at("2/limit/fs/file"), "right");
    // In the middle of the copy of a commit.
    await mkdir(at("2/fs"));
    await writeFile(at("2/fs/half"), "wrong");
    // In the middle of a prepare: mounted under its temporary name.
    await snapshotter.prepare("gone", "base", { labels });
    await snapshotter[Symbol.asyncDispose]();
    await rename(at("3"), at("new-killed"));
    await reopen(root, async (again) => {
      await again.remove("gone");
      await again.cleanup?.();
      expect((await readdir(at(""))).toSorted()).toEqual(["1", "2"]);
      await again.commit("A", "a");
      expect(await readdir(at("2/fs"))).toEqual(["file"]);
      // Between the record of a commit and the removal of the image.
      await again.prepare("c", "A", { labels });
      await again.prepare("d", "A");
      await again.commit("D", "d");
    });
    await rename(at("4/limit.img"), at("5/limit.img"));
    await mkdir(at("5/limit"));
    await reopen(root, async () => expect((await readdir(at("5"))).toSorted()).toEqual(["fs", "work"]));
  });
});
