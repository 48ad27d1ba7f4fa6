import { access, lstat, mkdir, readdir, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { expect } from "vitest";

import type { ConformanceCase } from "./run-conformance.ts";
import { commitLayer, type SnapshotSubject, withMounts } from "./snapshots-subject.ts";

/** This returns what a mounted view of `parent` shows of a file; `undefined` where there is none. */
async function look(
  subject: SnapshotSubject,
  parent: string,
  paths: readonly string[],
): Promise<(string | undefined)[]> {
  const key = `look-${parent}`;
  const mounts = await subject.snapshotter.view(key, parent);
  try {
    return await withMounts(subject, mounts, (directory) =>
      Promise.all(paths.map((path) => readFile(join(directory, path), "utf8").catch(() => undefined))),
    );
  } finally {
    await subject.snapshotter.remove(key);
  }
}

const write = (path: string, text: string) => (directory: string) => writeFile(join(directory, path), text);

/** Rules of what is seen where a snapshot is mounted. */
export const snapshotLayerCases: readonly ConformanceCase<SnapshotSubject>[] = [
  {
    name: "layers add, change and delete files of their parents, which stay as they are",
    async run(subject) {
      await commitLayer(subject, "one", "", async (directory) => {
        await write("kept", "1")(directory);
        await write("changed", "1")(directory);
        await write("deleted", "1")(directory);
      });
      await commitLayer(subject, "two", "one", async (directory) => {
        await write("changed", "2")(directory);
        await write("added", "2")(directory);
        await rm(join(directory, "deleted"));
      });
      const paths = ["kept", "changed", "deleted", "added"];
      expect(await look(subject, "two", paths)).toEqual(["1", "2", undefined, "2"]);
      expect(await look(subject, "one", paths)).toEqual(["1", "1", "1", undefined]);
    },
  },
  {
    name: "a directory removed and made again hides what it held",
    async run(subject) {
      await commitLayer(subject, "one", "", async (directory) => {
        await mkdir(join(directory, "d/e"), { recursive: true });
        await write("d/e/old", "1")(directory);
      });
      await commitLayer(subject, "two", "one", async (directory) => {
        await rm(join(directory, "d"), { recursive: true });
        await mkdir(join(directory, "d/e"), { recursive: true });
        await write("d/e/new", "2")(directory);
      });
      expect(await look(subject, "two", ["d/e/old", "d/e/new"])).toEqual([undefined, "2"]);
    },
  },
  {
    name: "files and directories of a parent can be renamed",
    async run(subject) {
      await commitLayer(subject, "one", "", async (directory) => {
        await mkdir(join(directory, "d"));
        await write("d/f", "1")(directory);
        await write("g", "2")(directory);
      });
      await commitLayer(subject, "two", "one", async (directory) => {
        await rename(join(directory, "g"), join(directory, "h"));
        // overlayfs without redirect_dir answers EXDEV for directories of a lower layer, and every tool copies then.
        await mkdir(join(directory, "e"));
        await rename(join(directory, "d/f"), join(directory, "e/f"));
        await rm(join(directory, "d"), { recursive: true });
      });
      expect(await look(subject, "two", ["d/f", "e/f", "g", "h"])).toEqual([undefined, "1", undefined, "2"]);
    },
  },
  {
    name: "a file replaces a directory, a link replaces a file",
    async run(subject) {
      await commitLayer(subject, "one", "", async (directory) => {
        await mkdir(join(directory, "a/b"), { recursive: true });
        await write("f", "1")(directory);
      });
      await commitLayer(subject, "two", "one", async (directory) => {
        await rm(join(directory, "a"), { recursive: true });
        await write("a", "2")(directory);
        await rm(join(directory, "f"));
        await symlink("a", join(directory, "f"));
      });
      expect(await look(subject, "two", ["a", "f"])).toEqual(["2", "2"]);
    },
  },
  {
    name: "a view cannot be written",
    async run(subject) {
      await commitLayer(subject, "one", "", write("f", "1"));
      await commitLayer(subject, "two", "one", write("g", "1"));
      for (const parent of ["", "one", "two"]) {
        const mounts = await subject.snapshotter.view(`ro-${parent}`, parent);
        await withMounts(subject, mounts, async (directory) => {
          await expect(writeFile(join(directory, "new"), "")).rejects.toMatchObject({ code: "EROFS" });
        });
      }
    },
  },
  {
    name: "two snapshots of one parent do not see each other",
    async run(subject) {
      await commitLayer(subject, "base", "", write("f", "0"));
      await commitLayer(subject, "left", "base", write("f", "left"));
      await commitLayer(subject, "right", "base", write("f", "right"));
      expect(await look(subject, "left", ["f"])).toEqual(["left"]);
      expect(await look(subject, "right", ["f"])).toEqual(["right"]);
    },
  },
  {
    name: "an active snapshot keeps what was written between two mounts",
    async run(subject) {
      await commitLayer(subject, "base", "", write("f", "0"));
      await withMounts(subject, await subject.snapshotter.prepare("work", "base"), write("f", "1"));
      await withMounts(subject, await subject.snapshotter.mounts("work"), async (directory) => {
        expect(await readFile(join(directory, "f"), "utf8")).toBe("1");
      });
    },
  },
  {
    name: "the root of a snapshot has mode 0755",
    async run(subject) {
      await withMounts(subject, await subject.snapshotter.prepare("work", ""), async (directory) => {
        expect((await lstat(directory)).mode & 0o7777).toBe(0o755);
        expect(await readdir(directory)).toEqual([]);
      });
    },
  },
  {
    name: "130 layers can be mounted",
    async run(subject) {
      let parent = "";
      for (let index = 0; index < 130; index += 1) {
        const mounts = await subject.snapshotter.prepare(`p${index}`, parent);
        // Only a few are written through a mount, the others stay empty: this is about their number.
        if (index % 43 === 0) await withMounts(subject, mounts, write(`f${index}`, String(index)));
        parent = `layer-${index}`;
        await subject.snapshotter.commit(parent, `p${index}`);
      }
      expect(await look(subject, parent, ["f0", "f43", "f86", "f129"])).toEqual(["0", "43", "86", "129"]);
      await withMounts(subject, await subject.snapshotter.prepare("top", parent), async (directory) => {
        await rm(join(directory, "f0"));
        await expect(access(join(directory, "f0"))).rejects.toMatchObject({ code: "ENOENT" });
      });
    },
  },
  {
    name: "usage grows with what is written and is kept by a commit",
    async run(subject) {
      const { snapshotter } = subject;
      const mounts = await snapshotter.prepare("work", "");
      const before = await snapshotter.usage("work");
      await withMounts(subject, mounts, async (directory) => {
        await writeFile(join(directory, "f"), new Uint8Array(1 << 20).fill(1), { flush: true });
      });
      const after = await snapshotter.usage("work");
      const { usage = "files" } = subject;
      if (!usage.endsWith("image")) expect(after.inodes).toBe(before.inodes + 1);
      expect(after.size - before.size).toBeGreaterThanOrEqual(1 << 20);
      await snapshotter.commit("name", "work");
      const committed = await snapshotter.usage("name");
      if (!usage.startsWith("converted")) expect(committed).toEqual(after);
      else expect(committed.size).toBeGreaterThanOrEqual(1 << 20);
    },
  },
];
