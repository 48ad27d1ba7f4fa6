import { chmodSync, existsSync, lstatSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";

import type { Applier } from "@berth/core/diff";
import type { Mount } from "@berth/core/mount";
import { writeTar } from "@berth/archive";
import { createErofsApplier, createLayerEngine } from "@berth/diff";
import { codeName, codeOf } from "@berth/errors";
import { mountTemporary } from "@berth/linux/mount";
import { formatDigest, MediaType } from "@berth/oci";
import { debianLibraries, debianTool, sha256 } from "@berth/testing";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";

import { layerUuid } from "../src/erofs-applier.ts";
import { LayerFixture } from "./layer-fixture.ts";

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

/**
 * Debian's mkfs.erofs knows no tar: this one unpacks it first. What it was called with stands in a file; the index of a tar is an image
 * of nothing.
 */
function mkfs(fail = ""): string {
  const path = join(fixture.directory, "mkfs");
  const script = `#!/bin/sh
echo "$@" > ${fixture.directory}/args
for last; do :; done
mkdir ${fixture.directory}/unpacked
case "$1" in --tar=f) tar -xf - -C ${fixture.directory}/unpacked;; *) cat > /dev/null;; esac
${fail}
LD_LIBRARY_PATH=${debianLibraries()} exec ${debianTool("mkfs.erofs")} --quiet -Enoinline_data "$last" ${fixture.directory}/unpacked
`;
  writeFileSync(path, script);
  chmodSync(path, 0o755);
  return path;
}

const applierOf = (rest: { mkfs?: string; tarIndex?: boolean; mkfsOptions?: string[] } = {}): Applier =>
  createErofsApplier({ content: fixture.content, engine, mkfs: "/no/such/program", ...rest });
const layerFile = (): string => join(fixture.directory, "snapshot/layer.erofs");
const failure = async (promise: Promise<unknown>): Promise<string> =>
  codeName(
    codeOf(
      await promise.then(
        () => undefined,
        (error: unknown) => error,
      ),
    ),
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
    const args = readFileSync(join(fixture.directory, "args"), "utf8").trim().split(" ");
    expect(args.slice(0, -1)).toEqual([
      "--tar=f",
      "--aufs",
      "--quiet",
      "-Enoinline_data",
      "-zlz4",
      "-U",
      layerUuid(layer.digest),
    ]);
  });

  it("names an image by a UUID of version 5 of its layer", () => {
    expect(layerUuid(formatDigest("sha256", "0".repeat(64)))).toBe("c10bde68-dd4e-5792-ba63-78c7b75c15bf");
  });

  it("keeps the tar behind an index of it", async () => {
    const layer = fixture.add(gzipSync(tar), MediaType.ociLayerGzip);
    await applierOf({ mkfs: mkfs(), tarIndex: true }).apply(layer, snapshot());
    const made = readFileSync(layerFile());
    expect(Buffer.compare(made.subarray(made.length - tar.length), tar)).toBe(0);
    expect(readFileSync(join(fixture.directory, "args"), "utf8")).toContain("--tar=i");
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
