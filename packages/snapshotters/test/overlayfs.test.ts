import { lstat, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { Code, codeOf } from "@berth/errors";
import { mountTemporary, unmountAll, withTemporaryMount } from "@berth/linux/mount";
import { runProgram, temporaryDirectory } from "@berth/testing";
import { describe, expect, it } from "vitest";

import { type OverlaySnapshotterOptions, openOverlaySnapshotter } from "../src/overlayfs.ts";
import { supportsDirectoryTypes } from "../src/overlayfs/overlay-support.ts";

async function openSubject(options: Partial<OverlaySnapshotterOptions> = {}) {
  await using made = new AsyncDisposableStack();
  const { path: root } = made.use(await temporaryDirectory("snapshots"));
  const { snapshotter, support } = await openOverlaySnapshotter({ root, ...options });
  made.use(snapshotter);
  const owned = made.move();
  const directories = async () => (await readdir(join(root, "snapshots"))).toSorted();
  return { snapshotter, support, root, directories, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

describe("overlayfs snapshotter", () => {
  it("lays out snapshots/<id>/{fs,work} and mounts with containerd's options", async () => {
    await using subject = await openSubject({ mountOptions: ["metacopy=off"] });
    const { snapshotter, root } = subject;
    expect(await snapshotter.prepare("a", "")).toEqual([
      { type: "bind", source: join(root, "snapshots/1/fs"), target: "", options: ["rw", "rbind"] },
    ]);
    await snapshotter.commit("A", "a");
    const [mount] = await snapshotter.prepare("b", "A");
    const own = join(root, "snapshots/2");
    expect(mount).toEqual({
      type: "overlay",
      source: "overlay",
      target: "",
      options: [
        `workdir=${own}/work`,
        `upperdir=${own}/fs`,
        `lowerdir=${root}/snapshots/1/fs`,
        "metacopy=off",
        "index=off",
      ],
    });
    const modes = await Promise.all(
      [own, `${own}/fs`, `${own}/work`].map(async (path) => (await lstat(path)).mode & 0o777),
    );
    expect(modes).toEqual([0o700, 0o755, 0o711]);
    await snapshotter.view("v", "A");
    expect(await readdir(join(root, "snapshots/3"))).toEqual(["fs"]);
  });

  it("keeps an index option that is configured", async () => {
    await using subject = await openSubject({ mountOptions: ["index=on"] });
    expect(subject.support.options).toEqual(["index=on"]);
  });

  it("gives the root of a child the owner of its parent's root, or the one of the mapping", async () => {
    await using subject = await openSubject();
    const { snapshotter, root } = subject;
    const labels = new Map([
      ["containerd.io/snapshot/uidmapping", "0:4321:65536"],
      ["containerd.io/snapshot/gidmapping", "0:1234:65536"],
    ]);
    const [mount] = await snapshotter.prepare("a", "", { labels });
    expect(mount?.options.slice(0, 2)).toEqual(["uidmap=0:4321:65536", "gidmap=0:1234:65536"]);
    await snapshotter.commit("A", "a");
    await snapshotter.prepare("b", "A");
    for (const id of [1, 2]) {
      expect(await lstat(join(root, `snapshots/${id}/fs`))).toMatchObject({ uid: 4321, gid: 1234 });
    }
  });

  it("mounts with mapped ids where it says that it can", async () => {
    await using subject = await openSubject();
    expect(subject.support.remapIds).toBe(true);
    const { snapshotter } = subject;
    const [plain] = await snapshotter.prepare("a", "");
    await writeFile(join(plain?.source ?? "", "file"), "");
    await snapshotter.commit("A", "a");
    const labels = new Map([
      ["containerd.io/snapshot/uidmapping", "0:100000:65536"],
      ["containerd.io/snapshot/gidmapping", "0:100000:65536"],
    ]);
    await using mounted = await mountTemporary(await snapshotter.prepare("b", "A", { labels }));
    expect(await lstat(join(mounted.path, "file"))).toMatchObject({ uid: 100_000, gid: 100_000 });
  });

  it("joins 128 real layers, by the kernel's new calls and by options in one page as Go programs shorten them", async () => {
    await using subject = await openSubject({ syncFs: false });
    const { snapshotter, root } = subject;
    const layers = Array.from({ length: 128 }, (_, index) => index + 1);
    for (const id of layers) {
      await snapshotter.prepare("work", id === 1 ? "" : `layer-${id - 1}`);
      await writeFile(join(root, `snapshots/${id}/fs/file-${id}`), String(id));
      await writeFile(join(root, `snapshots/${id}/fs/top`), String(id));
      await snapshotter.commit(`layer-${id}`, "work");
    }
    const mounts = await snapshotter.prepare("top", "layer-128");
    const look = async (path: string): Promise<void> => {
      expect(await readdir(path)).toHaveLength(129);
      expect(await readFile(join(path, "top"), "utf8")).toBe("128");
      expect(await readFile(join(path, "file-1"), "utf8")).toBe("1");
    };
    await withTemporaryMount(mounts, {}, async (path) => {
      await look(path);
      await writeFile(join(path, "written"), "");
      await rm(join(path, "written"));
    });
    const place = join(root, "place");
    await mkdir(place);
    const directory = join(root, "snapshots/");
    const options = mounts[0]?.options.map((option) =>
      option.startsWith("lowerdir=") ? option.replaceAll(directory, "") : option,
    );
    const args = ["-t", "overlay", "overlay", "-o", options?.join(",") ?? "", place];
    expect(await runProgram("mount", args, { cwd: directory })).toMatchObject({ code: 0 });
    try {
      await look(place);
    } finally {
      await unmountAll(place);
    }
  });

  it("leaves directories of removed snapshots to cleanup, which leaves all others", async () => {
    await using subject = await openSubject();
    const { snapshotter, directories, root } = subject;
    await snapshotter.prepare("gone", "");
    await snapshotter.prepare("kept", "");
    await mkdir(join(root, "snapshots/new-123/fs"), { recursive: true });
    await snapshotter.remove("gone");
    expect(await directories()).toEqual(["1", "2", "new-123"]);
    const preparing = Array.from({ length: 20 }, (_, index) => snapshotter.prepare(`p${index}`, ""));
    const cleaning = Array.from({ length: 5 }, () => snapshotter.cleanup?.());
    await Promise.all([...preparing, ...cleaning]);
    await snapshotter.cleanup?.();
    expect(await directories()).toEqual(Array.from({ length: 21 }, (_, index) => String(index + 2)).toSorted());
  });

  it("removes directories at once with syncRemove", async () => {
    await using subject = await openSubject({ syncRemove: true });
    await subject.snapshotter.prepare("gone", "");
    await subject.snapshotter.remove("gone");
    expect(await subject.directories()).toEqual([]);
  });

  it("tells the upper directory in a label that is not stored", async () => {
    await using subject = await openSubject({ upperdirLabel: true });
    const { snapshotter, root } = subject;
    await snapshotter.prepare("a", "");
    const label = "containerd.io/snapshot/overlay.upperdir";
    expect((await snapshotter.stat("a")).labels.get(label)).toBe(join(root, "snapshots/1/fs"));
    const [listed] = await Array.fromAsync(snapshotter.list({ filters: [`labels."${label}"`] }));
    expect(listed?.name).toBe("a");
  });

  it("leaves nothing behind when it cannot make a snapshot", async () => {
    await using subject = await openSubject();
    const { snapshotter, directories } = subject;
    const labels = new Map([["containerd.io/snapshot/uidmapping", "nonsense"]]);
    const codes = await Promise.all(
      [snapshotter.prepare("a", "", { labels }), snapshotter.prepare("b", "nobody")].map((call) =>
        call.then(() => 0, codeOf),
      ),
    );
    expect(codes).toEqual([Code.InvalidArgument, Code.NotFound]);
    const outcomes = await Promise.allSettled(Array.from({ length: 10 }, () => snapshotter.prepare("same", "")));
    expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    expect(await directories()).toHaveLength(1);
  });

  it("knows everything after it was closed and opened, and gives no id twice", async () => {
    await using directory = await temporaryDirectory("snapshots");
    const root = directory.path;
    {
      const { snapshotter } = await openOverlaySnapshotter({ root });
      await using _first = snapshotter;
      await snapshotter.prepare("a", "");
      await snapshotter.commit("A", "a", { labels: new Map([["containerd.io/snapshot/x", "1"]]) });
      await snapshotter.prepare("b", "A");
      await snapshotter.remove("b");
      await snapshotter.cleanup?.();
    }
    const { snapshotter } = await openOverlaySnapshotter({ root });
    await using _second = snapshotter;
    expect(await snapshotter.stat("A")).toMatchObject({ kind: "committed", parent: "" });
    expect((await snapshotter.stat("A")).labels.get("containerd.io/snapshot/x")).toBe("1");
    expect((await snapshotter.usage("A")).inodes).toBe(1);
    const [mount] = await snapshotter.prepare("c", "A");
    expect(mount?.options).toContain(`upperdir=${root}/snapshots/3/fs`);
  });

  it("on a full disk removes snapshots, and makes them again when there is room", async () => {
    await using disk = await mountTemporary([{ type: "tmpfs", source: "tmpfs", options: ["size=16m"] }]);
    const fatal: Error[] = [];
    const { snapshotter } = await openOverlaySnapshotter({
      root: join(disk.path, "root"),
      fatal: (error) => void fatal.push(error),
    });
    await using _snapshotter = snapshotter;
    const labels = new Map([["containerd.io/snapshot/large", "x".repeat(3000)]]);
    const keys = Array.from({ length: 20 }, (_, index) => `snapshot-${index}`);
    await Promise.all(keys.map((key) => snapshotter.prepare(key, "", { labels })));
    const filler = join(disk.path, "filler");
    await expect(writeFile(filler, new Uint8Array(32 << 20))).rejects.toMatchObject({ code: "ENOSPC" });
    for (const key of keys) await snapshotter.remove(key);
    expect(await Array.fromAsync(snapshotter.list())).toEqual([]);
    await writeFile(filler, "");
    await snapshotter.cleanup?.();
    await snapshotter.prepare("again", "");
    expect(fatal).toEqual([]);
  });

  it("survives commits of its database that fail", async () => {
    await using disk = await mountTemporary([{ type: "tmpfs", source: "tmpfs", options: ["size=1m"] }]);
    const fatal: Error[] = [];
    const { snapshotter } = await openOverlaySnapshotter({
      root: join(disk.path, "root"),
      fatal: (error) => void fatal.push(error),
    });
    await using _snapshotter = snapshotter;
    await snapshotter.prepare("before", "");
    const filler = join(disk.path, "filler");
    await writeFile(filler, new Uint8Array(4 << 20)).catch(() => {});
    const large = new Map([["containerd.io/snapshot/large", "x".repeat(4000)]]);
    const codes = [];
    for (const key of ["a", "b", "c", "d", "e"]) {
      codes.push(await snapshotter.prepare(key, "", { labels: large }).then(() => 0, codeOf));
    }
    expect(codes).toContain(Code.ResourceExhausted);
    await writeFile(filler, "");
    await snapshotter.prepare("after", "");
    expect(await snapshotter.stat("before")).toMatchObject({ kind: "active" });
    expect(await Array.fromAsync(snapshotter.list())).toHaveLength(2 + codes.filter((code) => code === 0).length);
    expect(fatal).toEqual([]);
  });
});

describe("supportsDirectoryTypes", () => {
  it("is true on the file systems of this machine", async () => {
    await using directory = await temporaryDirectory("snapshots");
    expect(await supportsDirectoryTypes(directory.path)).toBe(true);
    expect(await readdir(directory.path)).toEqual([]);
  });
});
