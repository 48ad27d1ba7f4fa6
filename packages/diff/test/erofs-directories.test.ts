import { chmodSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import type { TarEntryWithContent } from "@berth/archive";
import { LAYER_NEEDS_PARENT } from "@berth/core/diff";
import type { Mount } from "@berth/core/mount";
import { createApplier, createErofsApplier, createLayerEngine } from "@berth/diff";
import { mountTemporary } from "@berth/linux/mount";
import { type Descriptor, MediaType } from "@berth/oci";
import { newerTool } from "@berth/testing";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";

import { describeTree, LayerFixture } from "./layer-fixture.ts";

const engine = createLayerEngine();
let fixture: LayerFixture;

beforeEach(() => {
  fixture = new LayerFixture();
});
afterEach(() => {
  using own = fixture;
  expect(readFileSync("/proc/self/mounts", "utf8")).not.toContain(own.directory);
});
afterAll(() => engine[Symbol.asyncDispose]());

const file = (path: string | Uint8Array, text = "x"): TarEntryWithContent => ({
  path,
  type: "file",
  mode: 0o640,
  uid: 7,
  content: Buffer.from(text),
});
const ROOT: TarEntryWithContent = { path: "./", type: "directory", mode: 0o711, uid: 3 };
const long = "l".repeat(200);
const modesOf = (tree: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(tree).map(([path, each]) => [path, (each as { mode: string }).mode])); // of describeTree

/** Snapshot of the EROFS snapshotter, with a directory `fs`. */
function snapshot(...lowers: readonly string[]): readonly Mount[] {
  writeFileSync(join(fixture.make("snapshot"), ".erofslayer"), "");
  const upper = fixture.make("snapshot/fs");
  const bind = { type: "bind", source: upper, target: "", options: ["rw", "rbind"] };
  if (lowers.length === 0) return [bind];
  const images = lowers.map((source) => ({ type: "erofs", source, target: "", options: ["ro", "loop"] }));
  const options = [`workdir=${upper}.work`, `upperdir=${upper}`, `lowerdir={{ overlay 0 ${lowers.length - 1} }}`];
  return [...images, { type: "format/mkdir/overlay", source: "overlay", target: "", options }];
}

/** mkfs.erofs, which leaves a line for each time that it is run. */
function countedMkfs(): string {
  const path = join(fixture.directory, "mkfs");
  writeFileSync(path, `#!/bin/sh\necho run >> ${fixture.directory}/runs\nexec ${newerTool("mkfs.erofs")} "$@"\n`);
  chmodSync(path, 0o755);
  return path;
}
const runs = (): number => readFileSync(join(fixture.directory, "runs"), "utf8").split("\n").length - 1;

const apply = (layer: Descriptor, mounts: readonly Mount[], tarIndex = false): Promise<Descriptor> =>
  createErofsApplier({ content: fixture.content, engine, mkfs: countedMkfs(), tarIndex }).apply(layer, mounts);
const layerFile = (): string => join(fixture.directory, "snapshot/layer.erofs");
const show = () => mountTemporary([{ type: "erofs", source: layerFile(), options: ["ro", "loop"] }]);

/** The image of a layer, in a file of this name. */
async function image(name: string, entries: readonly TarEntryWithContent[]): Promise<string> {
  await apply(await fixture.addTar(entries), snapshot());
  const path = join(fixture.directory, name);
  renameSync(layerFile(), path);
  return path;
}

describe.each([
  ["converted", false],
  ["indexed", true],
])("directories that a %s layer only reaches through", (_, tarIndex) => {
  it("are 0755 of root, and the tree is what overlayfs has", async () => {
    const layer = await fixture.addTar([
      file("etc/passwd", "root"),
      file("./a/../b//c/d", "y".repeat(20_000)),
      file("../../up/file"),
      file(Buffer.from([0x66, 0xff, 0x2f, 0xfe])),
      file(`${long}/${long}/${long}`),
      { path: "etc/link", type: "link", linkPath: "etc/passwd" },
      { path: "b", type: "directory", mode: 0o1777, uid: 5 },
      { path: "gone/.wh.name", type: "file" },
    ]);
    const applied = await apply(layer, snapshot(), tarIndex);
    expect(applied).toEqual({ mediaType: MediaType.ociLayer, digest: layer.digest, size: layer.size });
    await using mounted = await show();
    expect(statSync(mounted.path)).toMatchObject({ mode: 0o40755, uid: 0, gid: 0, mtimeMs: 0 });
    // mkfs.erofs makes what `..` goes up from.
    const { a, gone, ...tree } = describeTree(mounted.path, { times: false });
    expect(modesOf({ a, gone })).toEqual({ a: "40755", gone: "40755" });
    expect(modesOf(tree)).toMatchObject({ etc: "40755", "b/c": "40755", up: "40755", [long]: "40755", b: "41777" });
    expect(statSync(join(mounted.path, "etc"))).toMatchObject({ uid: 0, gid: 0, mtimeMs: 0 });
    await createApplier({ content: fixture.content, engine }).apply(layer, [fixture.overlay("plain")]);
    const { gone: _gone, ...expected } = describeTree(join(fixture.directory, "plain"), { times: false });
    expect(Object.keys(expected).length).toBeGreaterThan(10);
    expect(tree).toEqual(expected);
    expect(runs()).toBe(2);
  });

  it("are what they are in the layers below", async () => {
    const oldest = await image("oldest", [
      { path: "tmp", type: "directory", mode: 0o1777, gid: 9, mtime: { seconds: 77, nanoseconds: 0 } },
      { path: "secret", type: "directory", mode: 0o700, uid: 5, xattrs: new Map([["user.note", Buffer.from("n")]]) },
      { path: "file", type: "directory", mode: 0o700 },
    ]);
    const nearest = await image("nearest", [
      { path: "secret", type: "directory", mode: 0o750, uid: 6 },
      { path: ".wh.file", type: "file" },
      { path: "circle", type: "symlink", linkPath: "circle" },
    ]);
    const names = ["tmp/x", "secret/x", "file/x", "new/x", "circle/x"];
    await apply(await fixture.addTar(names.map((name) => file(name))), snapshot(nearest, oldest), tarIndex);
    await using mounted = await show();
    const stat = (name: string) => statSync(join(mounted.path, name));
    expect(stat("tmp")).toMatchObject({ mode: 0o41777, gid: 9, mtimeMs: 77_000 });
    expect(stat("secret")).toMatchObject({ mode: 0o40750, uid: 6 });
    expect(stat("file")).toMatchObject({ mode: 0o40755, uid: 0 });
    expect(stat("new")).toMatchObject({ mode: 0o40755, uid: 0 });
    expect(stat("circle")).toMatchObject({ mode: 0o40755, uid: 0 });
  });

  it("are 0755 where the layers below cannot be looked at", async () => {
    const broken = join(fixture.directory, "broken");
    writeFileSync(broken, Buffer.alloc(8192));
    await apply(await fixture.addTar([file("tmp/x")]), snapshot(broken), tarIndex);
    await using mounted = await show();
    expect(statSync(join(mounted.path, "tmp")).mode).toBe(0o40755);
  });

  it("are none where it describes all: it is then made once, and its root is its own", async () => {
    const layer = await fixture.addTar([file("etc/x"), { path: "etc", type: "directory", mode: 0o700 }, ROOT]);
    await apply(layer, snapshot(), tarIndex);
    await using mounted = await show();
    expect(statSync(mounted.path)).toMatchObject({ mode: 0o40711, uid: 3 });
    expect(statSync(join(mounted.path, "etc")).mode).toBe(0o40700);
    expect(runs()).toBe(1);
  });

  it("are said of one that gets its parent later", async () => {
    const upper = (snapshot()[0] as Mount).source; // there is one
    const rebased = [{ type: "overlay", source: "overlay", target: "", options: [`upperdir=${upper}`] }];
    const reaching = await apply(await fixture.addTar([file("tmp/deep/x")]), rebased, tarIndex);
    expect(reaching.annotations).toEqual({ [LAYER_NEEDS_PARENT]: "2" });
    expect((await apply(await fixture.addTar([file("x")]), rebased, tarIndex)).annotations).toBeUndefined();
  });
});
