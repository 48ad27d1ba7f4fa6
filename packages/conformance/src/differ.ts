import { chmod, link, lutimes, mkdir, rename, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";

import type { CompareOptions, Comparer } from "@berth/core/diff";
import type { Mount } from "@berth/core/mount";
import { type Descriptor, MediaType } from "@berth/oci";
import { expect } from "vitest";

import { tar } from "./applier-archives.ts";
import type { ApplierSubject, TreeEntry } from "./applier-subject.ts";
import { expectCode } from "./expect-code.ts";
import type { ConformanceCase } from "./run-conformance.ts";

/** A comparer under test, with an applier to turn its layers into trees again. */
export interface DifferSubject extends ApplierSubject {
  readonly comparer: Comparer;
  /** This mounts a list, writable, while `change` runs. */
  change(mounts: readonly Mount[], change: (directory: string) => Promise<void>): Promise<void>;
  /** Labels of a blob. */
  labels(layer: Descriptor): Promise<ReadonlyMap<string, string>>;
}

const SECONDS = 1_600_000_000;

async function put(root: string, path: string, text = path): Promise<void> {
  await mkdir(dirname(join(root, path)), { recursive: true });
  await writeFile(join(root, path), text);
  await utimes(join(root, path), SECONDS, SECONDS);
}

async function makeBase(root: string): Promise<void> {
  for (const path of ["dir/a", "dir/b", "gone/deep/x", "hard", "kind", "opaque/old", "same"]) await put(root, path);
  await link(join(root, "hard"), join(root, "hard2"));
  await symlink("dir", join(root, "soft"));
}

/** Changes of each kind. */
const CHANGES: Readonly<Record<string, (root: string) => Promise<void>>> = {
  "nothing at all": async () => {},
  "a file that is new, in a directory that is new": (root) => put(root, "new/deep/file"),
  "content that has changed": (root) => put(root, "dir/a", "changed"),
  "a mode that has changed": (root) => chmod(join(root, "dir/a"), 0o4711),
  "a directory's mode that has changed": (root) => chmod(join(root, "dir"), 0o1777),
  "a file that is gone": (root) => rm(join(root, "dir/a")),
  "a tree that is gone": (root) => rm(join(root, "gone"), { recursive: true }),
  "a directory that was made again": async (root) => {
    await rm(join(root, "opaque"), { recursive: true });
    await put(root, "opaque/new");
  },
  "a file that became a directory, and a directory that became a link": async (root) => {
    await rm(join(root, "kind"));
    await put(root, "kind/inside");
    await rm(join(root, "gone"), { recursive: true });
    await symlink("dir", join(root, "gone"));
    await lutimes(join(root, "gone"), SECONDS, SECONDS);
  },
  "a file that was renamed": (root) => rename(join(root, "dir/a"), join(root, "moved")),
  "hard links: a new one, and a new file of two names": async (root) => {
    await link(join(root, "same"), join(root, "same-too"));
    await put(root, "pair/a");
    await link(join(root, "pair/a"), join(root, "pair/b"));
  },
  "names beyond ASCII, and long ones": async (root) => {
    await put(root, "größe/名前");
    await put(root, `${"p".repeat(120)}/${"q".repeat(200)}`);
  },
};

/** All that a layer keeps: times of files to the second, of directories not at all. */
function kept(tree: ReadonlyMap<string, TreeEntry>): ReadonlyMap<string, TreeEntry> {
  return new Map(
    [...tree].map(([path, { mtimeNs, ...rest }]) => {
      const isDirectory = String(rest["mode"]).startsWith("4");
      return [path, { ...rest, ...(isDirectory ? {} : { seconds: BigInt(mtimeNs ?? 0) / 1_000_000_000n }) }];
    }),
  );
}

/** A snapshot over what `makeBase` makes, and the layer that makes it. */
async function base(
  subject: DifferSubject,
): Promise<{ readonly mounts: readonly Mount[]; readonly layer: Descriptor }> {
  const mounts = await subject.snapshot();
  await subject.change(mounts, makeBase);
  return { mounts, layer: await subject.comparer.compare([], mounts, { mediaType: MediaType.ociLayer }) };
}

/** A layer of one new file. */
async function small(subject: DifferSubject, options: CompareOptions): Promise<Descriptor> {
  const mounts = await subject.snapshot();
  await subject.change(mounts, (root) => put(root, "file", "text ".repeat(1000)));
  return subject.comparer.compare([], mounts, options);
}

function roundTrip(name: string, change: (root: string) => Promise<void>): ConformanceCase<DifferSubject> {
  return {
    name: `diff, then apply, gives the same tree: ${name}`,
    async run(subject) {
      const { layer: lower } = await base(subject);
      const [below, changed, again] = [
        await subject.snapshot(lower),
        await subject.snapshot(lower),
        await subject.snapshot(lower),
      ];
      await subject.change(changed, change);
      const layer = await subject.comparer.compare(below, changed);
      await subject.applier.apply(layer, again);
      expect(kept(await subject.tree(again))).toEqual(kept(await subject.tree(changed)));
      const repeated = await subject.comparer.compare(below, changed, { ref: "again" });
      expect(repeated).toEqual(layer);
    },
  };
}

/** Rules of comparers. */
export const differCases: readonly ConformanceCase<DifferSubject>[] = [
  ...Object.entries(CHANGES).map(([name, change]) => roundTrip(name, change)),
  ...[MediaType.ociLayer, MediaType.ociLayerGzip, MediaType.ociLayerZstd].map(
    (mediaType): ConformanceCase<DifferSubject> => ({
      name: `a layer of ${mediaType} has its type, its labels and the digest of what it unpacks to`,
      async run(subject) {
        const layer = await small(subject, { mediaType, labels: new Map([["note", "1"]]) });
        expect(layer.mediaType).toBe(mediaType);
        const { digest } = await subject.applier.apply(layer, await subject.snapshot());
        expect(await subject.labels(layer)).toMatchObject(
          new Map([
            ["note", "1"],
            ["containerd.io/uncompressed", digest],
          ]),
        );
      },
    }),
  ),
  {
    name: "a layer is tar+gzip where nothing is said",
    async run(subject) {
      expect((await small(subject, {})).mediaType).toBe(MediaType.ociLayerGzip);
    },
  },
  {
    name: "nothing gives an empty archive",
    async run(subject) {
      const layer = await subject.comparer.compare([], [], { mediaType: MediaType.ociLayer });
      expect(layer.size).toBe((await tar([])).length);
    },
  },
  {
    name: "sourceDateEpoch is the latest time in a layer",
    async run(subject) {
      const layer = await small(subject, { mediaType: MediaType.ociLayer, sourceDateEpoch: 1_000_000_000_000 });
      const mounts = await subject.snapshot();
      await subject.applier.apply(layer, mounts);
      expect((await subject.tree(mounts)).get("file")?.["mtimeNs"]).toBe(1_000_000_000_000_000_000n);
    },
  },
  {
    name: "another media type is unimplemented",
    async run(subject) {
      await expectCode(small(subject, { mediaType: "application/vnd.example.unknown" }), 12);
    },
  },
];
