import { lstatSync, mkdirSync, readdirSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import type { TarEntryWithContent } from "@berth/archive";
import type { Applier } from "@berth/core/diff";
import { createApplier, createLayerEngine } from "@berth/diff";
import { codeName, codeOf } from "@berth/errors";
import { mountTemporary } from "@berth/linux/mount";
import type { Mount } from "@berth/core/mount";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";

import { describeTree, LayerFixture } from "./layer-fixture.ts";

let fixture: LayerFixture;
let applier: Applier;
const engine = createLayerEngine();

beforeEach(() => {
  fixture = new LayerFixture();
  applier = createApplier({ content: fixture.content, syncFs: false, engine });
});

afterEach(() => fixture[Symbol.dispose]());
afterAll(() => engine[Symbol.asyncDispose]());

const file = (path: string): TarEntryWithContent => ({ path, type: "file", content: Buffer.from(path) });
const directory = (path: string): TarEntryWithContent => ({ path, type: "directory" });

function makeLower(root: string): void {
  mkdirSync(join(root, "dir/sub/deeper"), { recursive: true });
  mkdirSync(join(root, "kept"));
  for (const name of ["gone", "dir/old", "dir/sub/old", "dir/sub/deeper/old", "kept/old"])
    writeFileSync(join(root, name), name);
}

/** What is seen through the mount after the layer was applied over the lower tree. */
async function seen(mount: Mount): Promise<string[]> {
  await using mounted = await mountTemporary([mount], { directory: fixture.directory });
  return readdirSync(mounted.path, { recursive: true, encoding: "utf8" }).sort();
}

/** A lower tree under an overlay, in the tree itself (as the native snapshotter has it), or under a mount of two. */
const kinds: Record<string, () => { mounts: Mount[]; look: Mount }> = {
  overlay: () => {
    makeLower(fixture.make("lower"));
    const mount = fixture.overlay("upper", "lower");
    return { mounts: [mount], look: mount };
  },
  bind: () => {
    makeLower(fixture.make("upper"));
    return { mounts: [fixture.bind("upper")], look: fixture.bind("upper") };
  },
  "temporary mount": () => {
    makeLower(fixture.make("upper"));
    // More than one mount is never taken apart.
    return { mounts: [fixture.bind("first"), fixture.bind("upper")], look: fixture.bind("upper") };
  },
};

const all = [
  "dir",
  "dir/old",
  "dir/sub",
  "dir/sub/deeper",
  "dir/sub/deeper/old",
  "dir/sub/old",
  "gone",
  "kept",
  "kept/old",
];
const without = (...prefixes: string[]): string[] =>
  all.filter((path) => !prefixes.some((prefix) => `${path}/`.startsWith(`${prefix}/`)));

const rows: [string, TarEntryWithContent[], string[]][] = [
  ["deletes a file and a tree", [file(".wh.gone"), file("dir/.wh.sub")], without("gone", "dir/sub")],
  ["deletes what is not there", [file(".wh.never"), file("dir/.wh.never")], all],
  ["empties an opaque directory", [file("dir/.wh..wh..opq")], without("dir/old", "dir/sub")],
  [
    "keeps what the same layer has in an opaque directory, marked before",
    [directory("dir/"), file("dir/.wh..wh..opq"), file("dir/new"), file("dir/sub/new")],
    [...without("dir/old", "dir/sub"), "dir/new", "dir/sub", "dir/sub/new"],
  ],
  ["deletes names that start like a mark", [file("kept/.wh..wh.plnk"), file("kept/.wh.old")], without("kept/old")],
  ["replaces a tree by a file of the same name", [file(".wh.dir"), file("dir")], [...without("dir"), "dir"]],
  [
    "replaces a tree by a new one",
    [file(".wh.dir"), directory("dir/"), file("dir/new")],
    [...without("dir"), "dir", "dir/new"],
  ],
  [
    "hides below a name of the same layer, not that name",
    [file("dir/new"), file(".wh.dir")],
    [...without("dir"), "dir", "dir/new"],
  ],
  ["hides nothing of the same layer", [file("gone"), file(".wh.gone")], all],
  [
    "deletes through a link",
    [{ path: "link", type: "symlink", linkPath: "kept" }, file("link/.wh.old")],
    [...without("kept/old"), "link"],
  ],
];

describe.each(Object.keys(kinds))("whiteouts in %s", (kind) => {
  it.each(rows)("%s", async (_, entries, expected) => {
    const { mounts, look } = kinds[kind]?.() ?? { mounts: [], look: fixture.bind("none") };
    await applier.apply(await fixture.addTar(entries), mounts);
    expect(await seen(look)).toEqual([...expected].sort());
  });

  it.each([".wh.", ".wh..", ".wh...", "dir/.wh..", "dir/.wh..."])("rejects %s", async (path) => {
    const { mounts, look } = kinds[kind]?.() ?? { mounts: [], look: fixture.bind("none") };
    const layer = await fixture.addTar([file(path)]);
    await expect(applier.apply(layer, mounts)).rejects.toSatisfy(
      (error) => codeName(codeOf(error)) === "invalid_argument",
    );
    expect(await seen(look)).toEqual(all);
  });
});

describe("whiteouts", () => {
  it("keep what was unpacked before the opaque mark, in place", async () => {
    makeLower(fixture.make("upper"));
    const layer = await fixture.addTar([file("dir/new"), file("dir/sub/new"), file("dir/.wh..wh..opq")]);
    await applier.apply(layer, [fixture.bind("upper")]);
    expect(await seen(fixture.bind("upper"))).toEqual(
      [...without("dir/old", "dir/sub"), "dir/new", "dir/sub", "dir/sub/new"].sort(),
    );
  });

  it("are devices of the entry's owner, and attributes, below an overlay", async () => {
    makeLower(fixture.make("lower"));
    const layer = await fixture.addTar([{ ...file(".wh.gone"), uid: 7, gid: 8 }, file("dir/.wh..wh..opq")]);
    await applier.apply(layer, [fixture.overlay("upper", "lower")]);
    const tree = describeTree(join(fixture.directory, "upper"));
    expect(tree["gone"]).toMatchObject({ device: "0", owner: "7:8" });
    expect(tree["dir"]).toMatchObject({ xattrs: { "trusted.overlay.opaque": "79" } });
    expect(Object.keys(tree)).toEqual(["dir", "gone"]);
  });

  it("delete deep trees, and links without what they lead to", async () => {
    const upper = fixture.make("upper");
    const outside = fixture.make("outside");
    writeFileSync(join(outside, "victim"), "");
    mkdirSync(join(upper, "deep", "d/".repeat(1500)), { recursive: true });
    symlinkSync(outside, join(upper, "deep/d/d/link"));
    symlinkSync(outside, join(upper, "link"));
    await applier.apply(await fixture.addTar([file(".wh.deep"), file(".wh.link")]), [fixture.bind("upper")]);
    expect(readdirSync(upper)).toEqual([]);
    expect(statSync(join(outside, "victim")).isFile()).toBe(true);
    expect(lstatSync(outside).isDirectory()).toBe(true);
  });
});
