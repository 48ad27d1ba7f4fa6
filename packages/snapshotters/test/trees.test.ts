import { execFileSync } from "node:child_process";
import { closeSync, mkdirSync, openSync, writeFileSync } from "node:fs";
import { chmod, chown, link, lstat, mkdir, readdir, readFile, readlink, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";

import { Code, codeOf } from "@berth/errors";
import { lgetxattr, llistxattr, lsetxattr, lutimes, mkfifo, mknod } from "@berth/linux/files";
import { withTemporaryMount } from "@berth/linux/mount";
import { memoryDirectory, temporaryDirectory } from "@berth/testing";
import { describe, expect, it } from "vitest";

import { TreeWorkers } from "../src/tree-workers.ts";
import { makeScratch, mountBtrfs } from "./images.ts";

async function openTrees() {
  await using made = new AsyncDisposableStack();
  const { path } = made.use(await temporaryDirectory("snapshots"));
  const trees = made.use(new TreeWorkers());
  const owned = made.move();
  return { trees, path, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** Makes more levels than a path may have bytes, each through a descriptor of the one above. */
function makeDeepTree(path: string, levels: number): void {
  mkdirSync(path);
  let above = openSync(path, "r");
  for (let level = 0; level < levels; level += 1) {
    const next = `/proc/self/fd/${above}/d`;
    mkdirSync(next);
    const descriptor = openSync(next, "r");
    closeSync(above);
    above = descriptor;
  }
  writeFileSync(`/proc/self/fd/${above}/leaf`, "x");
  closeSync(above);
}

describe("TreeWorkers.copy", () => {
  it("carries over owner, mode, times, attributes, links and special files", async () => {
    await using subject = await openTrees();
    const [from, to] = [join(subject.path, "from"), join(subject.path, "to")];
    await mkdir(join(from, "dir"), { recursive: true });
    await mkdir(to);
    await writeFile(join(from, "file"), "content");
    await chown(join(from, "file"), 1234, 2345);
    await chmod(join(from, "file"), 0o6751);
    lsetxattr(join(from, "file"), "user.binary", Uint8Array.of(0, 255, 10));
    lsetxattr(join(from, "file"), "security.capability", Uint8Array.from([1, 0, 0, 2, ...Array(16).fill(0)]));
    await link(join(from, "file"), join(from, "dir/hard"));
    await symlink("/nowhere", join(from, "soft"));
    mknod(join(from, "device"), 0o020600, 1, 3);
    mkfifo(join(from, "fifo"), 0o640);
    const socket = createServer();
    await new Promise<void>((resolve) => void socket.listen(join(from, "socket"), resolve));
    await writeFile(Buffer.concat([Buffer.from(`${from}/latin-`), Buffer.from([0xe9])]), "é");
    await chown(join(from, "dir"), 77, 88);
    await chmod(join(from, "dir"), 0o1710);
    const paths = ["file", "dir/hard", "soft", "device", "fifo", "socket", "dir", ""];
    for (const [index, path] of paths.entries()) {
      lutimes(join(from, path), 1_000_000_000_000_000_001n + BigInt(index), 1_111_111_111_123_456_789n + BigInt(index));
    }

    await subject.trees.copy(from, to);

    for (const path of paths) {
      const [a, b] = await Promise.all([from, to].map((root) => lstat(join(root, path), { bigint: true })));
      const facts = (stat = a) => [path, stat?.mode, stat?.uid, stat?.gid, stat?.rdev, stat?.mtimeNs, stat?.nlink];
      expect(facts(b)).toEqual(facts(a));
    }
    socket.close();
    expect(await readFile(join(to, "file"), "utf8")).toBe("content");
    expect((await lstat(join(to, "file"))).ino).toBe((await lstat(join(to, "dir/hard"))).ino);
    expect(await readlink(join(to, "soft"))).toBe("/nowhere");
    expect([...lgetxattr(join(to, "file"), "user.binary")]).toEqual([0, 255, 10]);
    expect(lgetxattr(join(to, "file"), "security.capability")).toHaveLength(20);
    const names = await readdir(to, { encoding: "buffer" });
    expect(names.some((name) => name.at(-1) === 0xe9)).toBe(true);
  });

  it("leaves out an attribute that the target refuses, and no other of the file", async () => {
    await using subject = await openTrees();
    await using source = await mountBtrfs(subject.path);
    const [from, to] = [join(source.path, "file"), join(subject.path, "to")];
    await writeFile(from, "content");
    await mkdir(to);
    // Of another file system, and in no known place among the others.
    lsetxattr(from, "btrfs.compression", new TextEncoder().encode("zstd"));
    const names = Array.from({ length: 8 }, (_, index) => `user.${index}`);
    for (const name of names) lsetxattr(from, name, Uint8Array.of(1));
    await subject.trees.copy(source.path, to);
    expect(llistxattr(join(to, "file")).toSorted()).toEqual(names);
  });

  it("fails where there is no room for an attribute", async () => {
    await using subject = await openTrees();
    await using memory = await memoryDirectory("snapshots");
    await writeFile(join(memory.path, "file"), "content");
    // More than a block, which is all that ext4 has for those of an inode.
    lsetxattr(join(memory.path, "file"), "trusted.large", new Uint8Array(32 * 1024));
    const image = await makeScratch(join(subject.path, "image"), 8);
    await withTemporaryMount([{ type: "ext4", source: image, options: ["loop"] }], {}, async (to) => {
      const outcome = await subject.trees.copy(memory.path, to).then(() => "resolved" as const, codeOf);
      expect(outcome).toBe(Code.ResourceExhausted);
    });
  });

  it("leaves the line for a thread when it is cancelled", async () => {
    await using subject = await openTrees();
    await using trees = new TreeWorkers({ workers: 1 });
    makeDeepTree(join(subject.path, "from"), 400);
    await mkdir(join(subject.path, "to"));
    let isOver = false;
    const copied = trees.copy(join(subject.path, "from"), join(subject.path, "to")).finally(() => (isOver = true));
    const cancelling = new AbortController();
    const waiting = trees.usage(subject.path, { signal: cancelling.signal });
    cancelling.abort();
    expect(await waiting.then(() => "resolved" as const, codeOf)).toBe(Code.Canceled);
    expect(isOver).toBe(false);
    await copied;
    for (const name of ["from", "to"]) await trees.remove(join(subject.path, name));
  });

  it("stops when it is cancelled and keeps the worker usable", async () => {
    await using subject = await openTrees();
    makeDeepTree(join(subject.path, "from"), 1500);
    await mkdir(join(subject.path, "to"));
    const cancelling = new AbortController();
    const copied = subject.trees.copy(join(subject.path, "from"), join(subject.path, "to"), cancelling);
    cancelling.abort();
    const outcome = await copied.then(() => "resolved" as const, codeOf);
    expect(outcome).toBe(Code.Canceled);
    expect((await subject.trees.usage(join(subject.path, "to"))).inodes).toBeLessThan(1500);
    for (const name of ["from", "to"]) await subject.trees.remove(join(subject.path, name));
  });
});

describe("TreeWorkers.remove", () => {
  it("removes trees deeper than a path can be and names that are not UTF-8", async () => {
    await using subject = await openTrees();
    const path = join(subject.path, "deep");
    makeDeepTree(path, 2500);
    await writeFile(Buffer.concat([Buffer.from(`${path}/`), Buffer.from([0xff, 0xfe])]), "");
    expect(await subject.trees.usage(path)).toMatchObject({ inodes: 2503 });
    await subject.trees.remove(path);
    expect(await readdir(subject.path)).toEqual([]);
    await subject.trees.remove(path);
  });

  it("removes links, not what they lead to", async () => {
    await using subject = await openTrees();
    await mkdir(join(subject.path, "kept/inner"), { recursive: true });
    await mkdir(join(subject.path, "removed"));
    await symlink(join(subject.path, "kept"), join(subject.path, "removed/link"));
    await subject.trees.remove(join(subject.path, "removed"));
    expect(await readdir(join(subject.path, "kept"))).toEqual(["inner"]);
  });
});

describe("TreeWorkers.usage", () => {
  it("agrees with du: hard links once, holes not at all, the top included", async () => {
    await using subject = await openTrees();
    const path = join(subject.path, "tree");
    await mkdir(join(path, "sub"), { recursive: true });
    await writeFile(join(path, "a"), new Uint8Array(300_000).fill(1));
    await link(join(path, "a"), join(path, "sub/b"));
    execFileSync("truncate", ["-s", "1G", join(path, "hole")]);
    const [size] = execFileSync("du", ["-s", "--block-size=1", path], { encoding: "utf8" }).split("\t");
    expect(await subject.trees.usage(path)).toEqual({ size: Number(size), inodes: 4 });
  });

  it("of a path that does not exist is nothing", async () => {
    await using subject = await openTrees();
    expect(await subject.trees.usage(join(subject.path, "missing"))).toEqual({ size: 0, inodes: 0 });
  });
});
