import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { Code } from "@berth/errors";
import { expect } from "vitest";

import { expectCode } from "./expect-code.ts";
import type { ConformanceCase } from "./run-conformance.ts";
import { commitLayer, listNames, type SnapshotSubject, withMounts } from "./snapshots-subject.ts";

const MIB = 1024 * 1024;
const limit = (value: string): ReadonlyMap<string, string> => new Map([["containerd.io/snapshot/max-size", value]]);

const fill = async (path: string, mebibytes: number): Promise<void> => {
  await writeFile(path, new Uint8Array(mebibytes * MIB).fill(1), { flush: true });
};

const badLimits: ConformanceCase<SnapshotSubject> = {
  name: "a limit that is none is refused and nothing is made",
  async run(subject) {
    for (const value of ["100MB", "-1", "0", "1.5", "1e9", " 9000000", "1", "99999999999999999999"]) {
      await expectCode(subject.snapshotter.prepare("key", "", { labels: limit(value) }), Code.InvalidArgument);
    }
    expect(await listNames(subject)).toEqual([]);
    await subject.snapshotter.prepare("key", "");
  },
};

/** Rules of `containerd.io/snapshot/max-size`, for snapshotters that keep it. */
export const snapshotLimitCases: readonly ConformanceCase<SnapshotSubject>[] = [
  badLimits,
  {
    name: "a limited layer takes what fits and no more, with a parent and without, and is committed like any other",
    async run(subject) {
      const { snapshotter } = subject;
      await commitLayer(subject, "base", "", (directory) => writeFile(join(directory, "below"), "base"));
      for (const parent of ["", "base"]) {
        const labels = limit(String(48 * MIB));
        const mounts = await snapshotter.prepare(`work-${parent}`, parent, { labels });
        await withMounts(subject, mounts, async (directory) => {
          await fill(join(directory, "fits"), 16);
          await expect(fill(join(directory, "too large"), 48)).rejects.toMatchObject({ code: "ENOSPC" });
          await writeFile(join(directory, "too large"), "");
        });
        await withMounts(subject, await snapshotter.mounts(`work-${parent}`), async (directory) => {
          expect((await readFile(join(directory, "fits"))).length).toBe(16 * MIB);
          await writeFile(join(directory, "last"), parent);
        });
        expect((await snapshotter.usage(`work-${parent}`)).size).toBeGreaterThanOrEqual(16 * MIB);
        await snapshotter.commit(`done-${parent}`, `work-${parent}`);
        await withMounts(subject, await snapshotter.view(`look-${parent}`, `done-${parent}`), async (directory) => {
          const text = (name: string) => readFile(join(directory, name), "utf8").catch(() => "missing");
          expect((await text("fits")).length).toBe(16 * MIB);
          expect([await text("last"), await text("below")]).toEqual([parent, parent === "" ? "missing" : "base"]);
        });
      }
    },
  },
  {
    name: "a limit does not outlive the snapshot that it was asked for",
    async run(subject) {
      const { snapshotter } = subject;
      await snapshotter.prepare("work", "", { labels: limit(String(48 * MIB)) });
      await snapshotter.remove("work");
      await snapshotter.cleanup?.();
      await snapshotter.prepare("work", "");
      expect((await snapshotter.stat("work")).labels.size).toBe(0);
    },
  },
];

/** Rules of `containerd.io/snapshot/max-size`, for snapshotters that cannot keep it. */
export const snapshotWithoutLimitCases: readonly ConformanceCase<SnapshotSubject>[] = [
  badLimits,
  {
    name: "a limit is refused and nothing is made; a view needs none",
    async run(subject) {
      await commitLayer(subject, "base", "");
      const labels = limit(String(48 * MIB));
      for (const parent of ["", "base"]) {
        await expectCode(subject.snapshotter.prepare("key", parent, { labels }), Code.Unimplemented);
      }
      await subject.snapshotter.view("look", "base", { labels });
      expect((await listNames(subject)).toSorted()).toEqual(["base", "look"]);
    },
  },
];
