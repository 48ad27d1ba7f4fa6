import {
  chmodSync,
  chownSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { gunzipSync, zstdDecompressSync } from "node:zlib";

import { readTar, type TarHeader } from "@berth/archive";
import type { Comparer, CompareOptions } from "@berth/core/diff";
import type { Mount } from "@berth/core/mount";
import { createApplier, createComparer, createLayerEngine } from "@berth/diff";
import { lsetxattr, mkfifo, mknod } from "@berth/linux/files";
import { mountTemporary } from "@berth/linux/mount";
import { type Descriptor, MediaType } from "@berth/oci";
import { MemoryContentStore, sha256 } from "@berth/testing";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";

import { describeTree, LayerFixture } from "./layer-fixture.ts";

const SECONDS = 1_600_000_000;
const CAPABILITY = Buffer.from("0100000200200000000000000000000000000000", "hex");

let fixture: LayerFixture;
let content: MemoryContentStore;
let comparer: Comparer;
const engine = createLayerEngine();

beforeEach(() => {
  fixture = new LayerFixture();
  content = new MemoryContentStore();
  comparer = createComparer({ content, engine });
});
afterEach(() => {
  using own = fixture;
  expect(readFileSync("/proc/self/mounts", "utf8")).not.toContain(own.directory);
  expect(content.ingests.size).toBe(0);
});
afterAll(() => engine[Symbol.asyncDispose]());

const bytesOf = (layer: Descriptor): Uint8Array => content.blobs.get(layer.digest)?.bytes ?? new Uint8Array();

async function headers(tar: Uint8Array): Promise<TarHeader[]> {
  return Array.fromAsync(readTar([tar]), ({ header }) => header);
}

const paths = async (layer: Descriptor): Promise<string[]> =>
  (await headers(bytesOf(layer))).map(({ path, linkPath }) => (linkPath === "" ? path : `${path} -> ${linkPath}`));

const plain = (lower: readonly Mount[], upper: readonly Mount[], options: CompareOptions = {}): Promise<Descriptor> =>
  comparer.compare(lower, upper, { mediaType: MediaType.ociLayer, ...options });

/** A file of a time in the past, with a fraction. */
function put(root: string, path: string, text: string, fraction = 0.5): void {
  mkdirSync(join(root, path, ".."), { recursive: true });
  writeFileSync(join(root, path), text);
  utimesSync(join(root, path), SECONDS, SECONDS + fraction);
}

describe("Comparer", () => {
  it("makes a layer of everything that is new, in order, with what a layer keeps", async () => {
    const root = fixture.make("upper");
    put(root, "etc/passwd", "root");
    chownSync(join(root, "etc/passwd"), 5, 3_000_000);
    chmodSync(join(root, "etc/passwd"), 0o4755);
    put(root, "etc/b", "b");
    put(root, "etc-", "sorts after etc and all that is in it, as bytes do");
    lsetxattr(join(root, "etc/b"), "security.capability", CAPABILITY);
    lsetxattr(join(root, "etc/b"), "user.note", Buffer.from("not kept"));
    linkSync(join(root, "etc/b"), join(root, "link"));
    symlinkSync("../outside", join(root, "soft"));
    lutimesSync(join(root, "soft"), SECONDS, SECONDS);
    mkfifo(join(root, "fifo"), 0o600);
    mknod(join(root, "null"), 0o020666, 1, 3);
    const server = createServer().listen(join(root, "socket"));
    const long = `${"x".repeat(200)}/${"y".repeat(200)}`;
    put(root, long, "long");
    put(root, "größe", "utf-8");
    const layer = await plain([], [fixture.bind("upper")]);
    server.close();

    const made = await headers(bytesOf(layer));
    expect(made.map(({ path, type }) => `${type} ${path}`)).toEqual([
      "directory etc/",
      "file etc/b",
      "file etc/passwd",
      "file etc-",
      "fifo fifo",
      "file größe",
      "link link",
      "char null",
      "symlink soft",
      `directory ${"x".repeat(200)}/`,
      `file ${long}`,
    ]);
    const byPath = new Map(made.map((header) => [header.path, header]));
    expect(byPath.get("etc/passwd")).toMatchObject({ mode: 0o4755, uid: 5, gid: 3_000_000, userName: "", size: 4 });
    expect(byPath.get("etc/passwd")?.mtime).toEqual({ seconds: SECONDS, nanoseconds: 0 });
    expect(byPath.get("etc/passwd")?.atime).toBeUndefined();
    expect([...(byPath.get("etc/b")?.xattrs ?? [])]).toEqual([["security.capability", new Uint8Array(CAPABILITY)]]);
    expect(byPath.get("link")).toMatchObject({ linkPath: "etc/b", size: 0 });
    expect(byPath.get("soft")).toMatchObject({ linkPath: "../outside" });
    expect(byPath.get("null")).toMatchObject({ deviceMajor: 1, deviceMinor: 3 });
  });

  it.each([
    [undefined, MediaType.ociLayerGzip, (bytes: Uint8Array) => gunzipSync(bytes)],
    [MediaType.ociLayerGzip, MediaType.ociLayerGzip, (bytes: Uint8Array) => gunzipSync(bytes)],
    [MediaType.ociLayerZstd, MediaType.ociLayerZstd, (bytes: Uint8Array) => zstdDecompressSync(bytes)],
    [MediaType.ociLayer, MediaType.ociLayer, (bytes: Uint8Array) => bytes],
  ])(
    "media type %s gives %s, with the label of the uncompressed digest and those asked for",
    async (asked, given, unpack) => {
      put(fixture.make("upper"), "file", "content".repeat(500_000));
      const labels = new Map([["mine", "1"]]);
      const options = { labels, ...(asked === undefined ? {} : { mediaType: asked }) };
      const layer = await comparer.compare([], [fixture.bind("upper")], options);
      expect(layer).toMatchObject({ mediaType: given, size: bytesOf(layer).length, digest: sha256(bytesOf(layer)) });
      const tar = unpack(bytesOf(layer));
      expect((await headers(tar)).map(({ path }) => path)).toEqual(["file"]);
      expect(content.blobs.get(layer.digest)?.labels).toEqual(
        new Map([...labels, ["containerd.io/uncompressed", sha256(tar)]]),
      );
      // Again: the same bytes, which are there already.
      expect(await comparer.compare([], [fixture.bind("upper")], options)).toEqual(layer);
    },
  );

  it("tells changed from unchanged: by attributes, by time, and by content where the time was cut", async () => {
    for (const name of ["lower", "upper"]) {
      const root = fixture.make(name);
      put(root, "a/same", "one");
      put(root, "a/time", "one", name === "lower" ? 0.25 : 0.5);
      put(root, "a/cut-same", "one", 0);
      put(root, "a/cut-other", name === "lower" ? "one" : "two", 0);
      put(root, "a/fraction-other", name === "lower" ? "one" : "two");
      put(root, "a/size", name === "lower" ? "one" : "three");
      put(root, "mode/file", "one");
      put(root, "owner", "one");
      put(root, "capability", "one");
      put(root, "kept/deep/file", "one");
      symlinkSync(name, join(root, "soft"));
      lutimesSync(join(root, "soft"), SECONDS, SECONDS);
    }
    const upper = fixture.make("upper");
    chmodSync(join(upper, "mode"), 0o700);
    chownSync(join(upper, "owner"), 1, 1);
    lsetxattr(join(upper, "capability"), "security.capability", CAPABILITY);
    const layer = await plain([fixture.bind("lower")], [fixture.bind("upper")]);
    expect(await paths(layer)).toEqual([
      "a/",
      "a/cut-other",
      "a/size",
      "a/time",
      "capability",
      "mode/",
      "owner",
      "soft -> upper",
    ]);
  });

  it("writes deletions as whiteouts, one for a whole directory, with the directories above", async () => {
    const lower = fixture.make("lower");
    for (const path of ["dir/a", "dir/sub/b", "gone/deep/file", "becomes-file/x", "becomes-dir", "stays/x"]) {
      put(lower, path, "x");
    }
    const upper = fixture.make("upper");
    for (const path of ["dir/sub/c", "becomes-file", "becomes-dir/y", "stays/x"]) put(upper, path, "x");
    const layer = await plain([fixture.bind("lower")], [fixture.bind("upper")]);
    expect(await paths(layer)).toEqual([
      "becomes-dir/",
      "becomes-dir/y",
      "becomes-file",
      "dir/",
      "dir/.wh.a",
      "dir/sub/",
      "dir/sub/.wh.b",
      "dir/sub/c",
      ".wh.gone",
    ]);
    const whiteout = (await headers(bytesOf(layer))).find(({ path }) => path === ".wh.gone");
    expect(whiteout).toMatchObject({ mode: 0, uid: 0, size: 0, mtime: { seconds: 0, nanoseconds: 0 } });
  });

  it("writes the unchanged names of a changed inode as links", async () => {
    const lower = fixture.make("lower");
    put(lower, "a/first", "x");
    linkSync(join(lower, "a/first"), join(lower, "a/second"));
    const upper = fixture.make("upper");
    put(upper, "a/first", "x");
    linkSync(join(upper, "a/first"), join(upper, "a/second"));
    linkSync(join(upper, "a/first"), join(upper, "b"));
    const layer = await plain([fixture.bind("lower")], [fixture.bind("upper")]);
    expect(await paths(layer)).toEqual(["b", "a/", "a/first -> b", "a/second -> b"]);
  });

  it("has no time later than the epoch given, and whiteouts have none", async () => {
    put(fixture.make("lower"), "gone", "x");
    put(fixture.make("upper"), "new", "x");
    put(fixture.make("upper"), "old", "x");
    utimesSync(join(fixture.make("upper"), "old"), 1000, 1000);
    const layer = await plain([fixture.bind("lower")], [fixture.bind("upper")], { sourceDateEpoch: 5_000_500 });
    const times = (await headers(bytesOf(layer))).map(({ path, mtime }) => [path, mtime.seconds]);
    expect(times).toEqual([
      [".wh.gone", 0],
      ["new", 5000],
      ["old", 1000],
    ]);
  });

  it("leaves out a file whose name would delete another one", async () => {
    const root = fixture.make("upper");
    put(root, ".wh.etc", "x");
    put(root, "a/.wh..wh..opq", "x");
    expect(await paths(await plain([], [fixture.bind("upper")]))).toEqual(["a/"]);
  });

  it("gives back the tree when the layer is applied", async () => {
    const lower = fixture.make("lower");
    for (const path of ["keep/a", "keep/b", "gone/x", "dir/x", "file"]) put(lower, path, path, 0);
    const overlay = fixture.overlay("upper", "lower");
    {
      await using mounted = await mountTemporary([overlay]);
      put(mounted.path, "keep/a", "changed", 0);
      rmSync(join(mounted.path, "gone"), { recursive: true });
      rmSync(join(mounted.path, "dir"), { recursive: true });
      put(mounted.path, "dir/y", "opaque", 0);
      rmSync(join(mounted.path, "file"));
      put(mounted.path, "file/inside", "x", 0);
      linkSync(join(mounted.path, "keep/b"), join(mounted.path, "linked"));
    }
    const layer = await plain([fixture.bind("lower")], [overlay]);
    const again = fixture.overlay("again", "lower");
    const { bytes } = content.blobs.get(layer.digest) ?? { bytes: new Uint8Array() };
    const applier = createApplier({ content: fixture.content, engine });
    await applier.apply(fixture.add(bytes, layer.mediaType), [again]);
    const trees = [];
    for (const mount of [overlay, again]) {
      await using mounted = await mountTemporary([mount]);
      trees.push(describeTree(mounted.path, { times: false }));
    }
    expect(trees[1]).toEqual(trees[0]);
    expect(readdirSync(lower)).toContain("gone");
  });
});
