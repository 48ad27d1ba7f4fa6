import { chmodSync, existsSync, lstatSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";

import type { Applier } from "@berth/core/diff";
import type { Mount } from "@berth/core/mount";
import { type TarEntryWithContent, writeTar } from "@berth/archive";
import { createErofsApplier, createLayerEngine, createApplier } from "@berth/diff";
import { codeName, codeOf } from "@berth/errors";
import { mountTemporary } from "@berth/linux/mount";
import { erofsUuid, MediaType } from "@berth/oci";
import { newerTool, runProgram, sha256 } from "@berth/testing";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";

import { describeTree, LayerFixture } from "./layer-fixture.ts";

const EROFS = "application/vnd.erofs.layer.v1";
const engine = createLayerEngine();
let fixture: LayerFixture;
let tar: Uint8Array;

beforeEach(async () => {
  fixture = new LayerFixture();
  const entries = [
    { path: "dir/file", type: "file" as const, mode: 0o640, uid: 7, content: Buffer.alloc(300_000, "x") },
  ];
  tar = Buffer.concat(await Array.fromAsync(writeTar(entries)));
});
afterEach(() => fixture[Symbol.dispose]());
afterAll(() => engine[Symbol.asyncDispose]());

const bytes = (length: number): Uint8Array => Buffer.alloc(length, "0123456789");
/** With all its directories, but for the root. */
const TREE: readonly TarEntryWithContent[] = [
  { path: "bin", type: "directory", mode: 0o1777, uid: 3, gid: 4 },
  { path: "bin/tool", type: "file", mode: 0o4755, uid: 1000, gid: 70_000, content: bytes(5000) },
  { path: "bin/same", type: "link", linkPath: "bin/tool" },
  { path: "bin/link", type: "symlink", mode: 0o777, linkPath: "../bin/tool" },
  { path: "empty", type: "file", content: bytes(0) },
  { path: "big", type: "file", mode: 0o600, content: bytes(2_000_000) },
  { path: "fifo", type: "fifo", mode: 0o622 },
  { path: "null", type: "char", mode: 0o666, deviceMajor: 1, deviceMinor: 3 },
  { path: "deep", type: "directory", mode: 0o755 },
  { path: `deep/${"d".repeat(200)}`, type: "directory", mode: 0o755 },
  { path: `deep/${"d".repeat(200)}/${"f".repeat(200)}`, type: "file", content: bytes(10) },
  { path: "gone", type: "directory", mode: 0o711 },
  { path: "gone/.wh.file", type: "file", content: bytes(0) },
  { path: "fresh", type: "directory", mode: 0o700 },
  { path: "fresh/.wh..wh..opq", type: "file", content: bytes(0) },
  { path: "fresh/file", type: "file", content: bytes(4096) },
];

/** A snapshot of the EROFS snapshotter: in directory mode, or in block mode. */
function snapshot(mode: "directory" | "overlay" | "block" = "directory"): readonly Mount[] {
  const directory = fixture.make("snapshot");
  fixture.make("snapshot/fs");
  writeFileSync(join(directory, ".erofslayer"), "");
  const mount = (type: string, source: string, options: string[]): Mount => ({ type, source, target: "", options });
  if (mode === "directory") return [mount("bind", join(directory, "fs"), ["rw", "rbind"])];
  if (mode === "block") {
    return [
      mount("mkfs/ext4", join(directory, "rwlayer.img"), ["rw", "loop"]),
      mount("format/mkdir/bind", "{{ mount 0 }}/upper", ["rw", "rbind"]),
    ];
  }
  const options = [`workdir=${directory}/work`, `upperdir=${directory}/fs`, "lowerdir={{ overlay 0 1 }}"];
  return [mount("erofs", "/elsewhere/layer.erofs", ["ro", "loop"]), mount("format/overlay", "overlay", options)];
}

/** mkfs.erofs, with shell code before it, of what a disk or a killer does to it; what it was called with stands in a file. */
function mkfs(before = ""): string {
  const path = join(fixture.directory, "mkfs");
  const script = `#!/bin/sh
echo "$@" > ${fixture.directory}/args
for last; do :; done
${before}
exec ${newerTool("mkfs.erofs")} "$@"
`;
  writeFileSync(path, script);
  chmodSync(path, 0o755);
  return path;
}

const applierOf = (rest: { mkfs?: string; tarIndex?: boolean; mkfsOptions?: string[] } = {}): Applier =>
  createErofsApplier({ content: fixture.content, engine, mkfs: newerTool("mkfs.erofs"), ...rest });
const layerFile = (): string => join(fixture.directory, "snapshot/layer.erofs");
const check = async (code: number): Promise<void> => {
  expect(await runProgram(newerTool("fsck.erofs"), [layerFile()])).toMatchObject({ code });
};
const failure = async (promise: Promise<unknown>): Promise<string> =>
  await promise.then(
    () => "ok",
    (error: unknown) => codeName(codeOf(error)),
  );

describe("EROFS applier", () => {
  it.each([
    ["as it is", EROFS, (bytes: Uint8Array) => bytes],
    ["compressed", `${EROFS}+zstd`, (bytes: Uint8Array) => new Uint8Array(zstdCompressSync(bytes))],
  ])("puts an EROFS layer in its place, %s", async (_, mediaType, pack) => {
    const image = Buffer.alloc(100_000, "image");
    for (const mode of ["directory", "overlay", "block"] as const) {
      const applied = await applierOf().apply(fixture.add(pack(image), mediaType), snapshot(mode), { syncFs: true });
      expect(applied).toEqual({ mediaType: EROFS, digest: sha256(image), size: image.length });
      expect(Buffer.compare(readFileSync(layerFile()), image)).toBe(0);
    }
  });

  it("converts a tar layer with mkfs.erofs, and answers with what the tar is", async () => {
    const layer = fixture.add(gzipSync(tar), MediaType.ociLayerGzip);
    const applied = await applierOf({ mkfs: mkfs(), mkfsOptions: ["-zlz4"] }).apply(layer, snapshot());
    expect(applied).toEqual({ mediaType: MediaType.ociLayer, digest: sha256(tar), size: tar.length });
    await using mounted = await mountTemporary([{ type: "erofs", source: layerFile(), options: ["ro", "loop"] }]);
    expect(readFileSync(join(mounted.path, "dir/file")).length).toBe(300_000);
    expect(lstatSync(join(mounted.path, "dir/file"))).toMatchObject({ mode: 0o100640, uid: 7 });
    await check(0);
    const args = readFileSync(join(fixture.directory, "args"), "utf8").trim().split(" ");
    expect(args.slice(0, -1)).toEqual([
      "--tar=f",
      "--aufs",
      "--quiet",
      "-Enoinline_data",
      "-b4096",
      "-zlz4",
      "-U",
      erofsUuid(layer.digest),
    ]);
  });

  it("keeps the tar behind an index of it", async () => {
    const layer = fixture.add(gzipSync(tar), MediaType.ociLayerGzip);
    await applierOf({ tarIndex: true }).apply(layer, snapshot());
    const made = readFileSync(layerFile());
    expect(Buffer.compare(made.subarray(made.length - tar.length), tar)).toBe(0);
    expect(made.length - tar.length).toBeLessThan(10_000);
    await using mounted = await mountTemporary([{ type: "erofs", source: layerFile(), options: ["ro", "loop"] }]);
    expect(readFileSync(join(mounted.path, "dir/file"), "utf8")).toBe("x".repeat(300_000));
  });

  it.each([
    ["a converted layer", false],
    ["an indexed tar", true],
  ])("%s is the tree that overlayfs has", async (_, tarIndex) => {
    const layer = await fixture.addTar(TREE);
    await createApplier({ content: fixture.content, engine }).apply(layer, [fixture.overlay("plain")]);
    await applierOf({ tarIndex }).apply(layer, snapshot());
    if (!tarIndex) await check(0);
    await using mounted = await mountTemporary([{ type: "erofs", source: layerFile(), options: ["ro", "loop"] }]);
    const expected = describeTree(join(fixture.directory, "plain"), { times: false });
    expect(Object.keys(expected).length).toBeGreaterThan(8);
    const tree = describeTree(mounted.path, { times: false });
    // A directory with whiteouts is marked, which overlayfs takes notice of when it lists one.
    expect(tree["gone"]).toMatchObject({ xattrs: { "trusted.overlay.origin": "" } });
    expect({ ...tree, gone: expected["gone"] }).toEqual(expected);
  });

  it.each<readonly [string, readonly TarEntryWithContent[], readonly string[] | undefined]>([
    ["names that lead out", [{ path: "../../up", type: "file", content: bytes(1) }], ["up"]],
    ["an absolute name", [{ path: "/berth-absolute", type: "file", content: bytes(1) }], ["berth-absolute"]],
    [
      "a file behind a link",
      [
        { path: "out", type: "symlink", linkPath: tmpdir() },
        { path: "out/berth-erofs-behind", type: "file", content: bytes(1) },
      ],
      undefined,
    ],
    ["a hard link to nothing", [{ path: "hard", type: "link", linkPath: "/etc/passwd" }], undefined],
  ])("a layer with %s stays in its image, or is refused", async (_, entries, names) => {
    const layer = await fixture.addTar(entries);
    const applied = applierOf().apply(layer, snapshot());
    if (names === undefined) {
      expect(await failure(applied)).toBe("unknown");
      expect(readdirSync(join(fixture.directory, "snapshot")).sort()).toEqual([".erofslayer", "fs"]);
    } else {
      await applied;
      await using mounted = await mountTemporary([{ type: "erofs", source: layerFile(), options: ["ro", "loop"] }]);
      expect(Object.keys(describeTree(mounted.path))).toEqual(names);
    }
    const outside = [join(fixture.directory, "up"), join(tmpdir(), "up"), "/berth-absolute"];
    expect([...outside, join(tmpdir(), "berth-erofs-behind")].filter((path) => existsSync(path))).toEqual([]);
  });

  it("a tar that is cut off is refused, and leaves nothing", async () => {
    const layer = fixture.add(tar.subarray(0, 200_000), MediaType.ociLayer);
    expect(await failure(applierOf().apply(layer, snapshot()))).toBe("unknown");
    expect(readdirSync(join(fixture.directory, "snapshot")).sort()).toEqual([".erofslayer", "fs"]);
  });

  it.each([
    ["the program fails", 'echo partial > "$last"; echo no space >&2; exit 1'],
    ["the program ends by a signal", 'echo partial > "$last"; kill -9 $$'],
  ])("leaves nothing when %s", async (_, fail) => {
    const layer = fixture.add(tar, MediaType.ociLayer);
    expect(await failure(applierOf({ mkfs: mkfs(fail) }).apply(layer, snapshot()))).toBe("unknown");
    expect(readdirSync(join(fixture.directory, "snapshot")).sort()).toEqual([".erofslayer", "fs"]);
  });

  it("leaves nothing when it is cancelled, and no program", async () => {
    const layer = fixture.add(tar, MediaType.ociLayer);
    const controller = new AbortController();
    const program = mkfs(`touch ${fixture.directory}/begun; sleep 1000`);
    const applying = failure(applierOf({ mkfs: program }).apply(layer, snapshot(), { signal: controller.signal }));
    while (!existsSync(join(fixture.directory, "begun"))) await new Promise((resolve) => setTimeout(resolve, 5));
    controller.abort();
    expect(await applying).toBe("canceled");
    expect(readdirSync(join(fixture.directory, "snapshot")).sort()).toEqual([".erofslayer", "fs"]);
  });

  it("leaves to others what it does not know, and does not touch what is read-only", async () => {
    const layer = fixture.add(tar, MediaType.ociLayer);
    expect(await failure(applierOf().apply(layer, [fixture.bind("elsewhere")]))).toBe("unimplemented");
    expect(await failure(applierOf().apply({ ...layer, mediaType: `${EROFS}+gzip` }, snapshot()))).toBe(
      "unimplemented",
    );
    expect(await failure(applierOf().apply({ ...layer, mediaType: "application/vnd.example" }, snapshot()))).toBe(
      "unimplemented",
    );
    const view = snapshot().map((mount) => ({ ...mount, options: ["ro", "rbind"] }));
    expect(await failure(applierOf().apply(layer, view))).toBe("failed_precondition");
    expect(statSync(layerFile(), { throwIfNoEntry: false })).toBeUndefined();
  });
});
