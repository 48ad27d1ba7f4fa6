import { mkdir, readdir, rename, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { Code, codeOf } from "@berth/errors";
import { createSubvolume, snapshotSubvolume, withTemporaryMount } from "@berth/linux/mount";
import { temporaryDirectory } from "@berth/testing";
import { describe, expect, it } from "vitest";

import { openBtrfsSnapshotter } from "../src/btrfs.ts";
import { mountBtrfs } from "./images.ts";

async function openSubject() {
  await using made = new AsyncDisposableStack();
  const { path } = made.use(await temporaryDirectory("snapshots"));
  const disk = made.use(await mountBtrfs(path));
  const root = join(disk.path, "root");
  const snapshotter = made.use(await openBtrfsSnapshotter({ root }));
  const owned = made.move();
  const names = async () =>
    Object.fromEntries(
      await Promise.all(
        ["active", "view", "snapshots"].map(async (area) => [area, (await readdir(join(root, area))).toSorted()]),
      ),
    );
  return { snapshotter, root, names, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

describe("btrfs snapshotter", () => {
  it("keeps active/<id>, view/<id> and snapshots/<id>, and mounts them by their ids", async () => {
    await using subject = await openSubject();
    const { snapshotter, names, root } = subject;
    await snapshotter.prepare("a", "");
    expect(await names()).toEqual({ active: ["1"], view: [], snapshots: [] });
    await snapshotter.commit("A", "a");
    const [view] = await snapshotter.view("v", "A");
    const [active] = await snapshotter.prepare("b", "A");
    expect(await names()).toEqual({ active: ["3"], view: ["2"], snapshots: ["1"] });
    expect(view?.options).toEqual([expect.stringMatching(/^subvolid=\d+$/), "ro"]);
    expect(active?.options).toHaveLength(1);
    expect((await stat(join(root, "active"))).mode & 0o777).toBe(0o755);
    for (const key of ["v", "b", "A"]) await snapshotter.remove(key);
    expect(await names()).toEqual({ active: [], view: [], snapshots: [] });
  });

  it("measures what differs from the parent", async () => {
    await using subject = await openSubject();
    const { snapshotter } = subject;
    const fill = (name: string, bytes: number) => (path: string) =>
      writeFile(join(path, name), new Uint8Array(bytes).fill(1), { flush: true });
    await withTemporaryMount(await snapshotter.prepare("a", ""), {}, async (path) => {
      await fill("large", 8 << 20)(path);
      await fill("moved", 1 << 20)(path);
    });
    await snapshotter.commit("A", "a");
    const mounts = await snapshotter.prepare("b", "A");
    // The root of a subvolume is always new.
    expect(await snapshotter.usage("b")).toEqual({ size: 0, inodes: 1 });
    await withTemporaryMount(mounts, {}, async (path) => {
      await fill("own", 2 << 20)(path);
      await rename(join(path, "moved"), join(path, "elsewhere"));
    });
    const usage = await snapshotter.usage("b");
    // The root, the new file, and the one that is found under another name.
    expect(usage.inodes).toBe(3);
    expect(usage.size).toBeGreaterThanOrEqual(3 << 20);
    expect(usage.size).toBeLessThan(8 << 20);
    await snapshotter.commit("B", "b");
    expect(await snapshotter.usage("B")).toEqual(usage);
  });

  it("leaves nothing half-made where a commit was cut off, and commits again", async () => {
    await using subject = await openSubject();
    const { snapshotter, names, root } = subject;
    await snapshotter.prepare("a", "");
    await writeFile(join(root, "active/1/file"), "late");
    // As after a crash between the read-only subvolume and the record.
    await createSubvolume(join(root, "snapshots/1"));
    await snapshotSubvolume(join(root, "active/1"), join(root, "snapshots/new-x"), { readOnly: true });
    await snapshotter.commit("A", "a");
    const mounts = await snapshotter.view("v", "A");
    await withTemporaryMount(mounts, {}, async (path) => expect(await readdir(path)).toEqual(["file"]));
    // As after a crash between the record and the removal of the active one.
    await createSubvolume(join(root, "active/1"));
    await snapshotter.cleanup?.();
    expect(await names()).toEqual({ active: [], view: ["2"], snapshots: ["1"] });
  });

  it("takes a failed commit back", async () => {
    await using subject = await openSubject();
    const { snapshotter, names } = subject;
    await snapshotter.prepare("a", "");
    const cancelling = new AbortController();
    const committed = snapshotter.commit("A", "a", { signal: cancelling.signal });
    setImmediate(() => cancelling.abort());
    expect(await committed.then(() => "resolved" as const, codeOf)).toBe(Code.Canceled);
    await snapshotter.cleanup?.();
    expect(await names()).toEqual({ active: ["1"], view: [], snapshots: [] });
    await snapshotter.commit("A", "a");
  });

  it("removes subvolumes that were made inside of a snapshot", async () => {
    await using subject = await openSubject();
    const { snapshotter, names, root } = subject;
    await snapshotter.prepare("a", "");
    await mkdir(join(root, "active/1/d"));
    await createSubvolume(join(root, "active/1/d/inner"));
    await writeFile(join(root, "active/1/d/inner/file"), "");
    await snapshotter.commit("A", "a");
    await snapshotter.remove("A");
    expect(await names()).toEqual({ active: [], view: [], snapshots: [] });
  });

  it("refuses another file system", async () => {
    await using directory = await temporaryDirectory("snapshots");
    const opened = openBtrfsSnapshotter({ root: directory.path });
    expect(await opened.then(() => "resolved" as const, codeOf)).toBe(Code.FailedPrecondition);
  });
});
