import type { TarEntry } from "@berth/archive";
import { readTar } from "@berth/archive";
import { codeName, codeOf } from "@berth/errors";
import type { BuiltImage } from "@berth/testing";
import { buildImage, MemoryContentStore, sha256 } from "@berth/testing";
import type { Descriptor } from "@berth/oci";
import { hostPlatform, MediaType, only, parsePlatform } from "@berth/oci";
import { beforeEach, describe, expect, it } from "vitest";

import type { ExportOptions, ImageToExport } from "../src/index.ts";
import { exportArchive, importArchive } from "../src/index.ts";

const encoder = new TextEncoder();
const host = hostPlatform();
const foreign = parsePlatform(host.architecture === "arm64" ? "linux/amd64" : "linux/arm64");

let content: MemoryContentStore;
let one: BuiltImage;
let two: BuiltImage;

const layerOf = (text: string) => [
  { path: "file", type: "file" as const, size: text.length, content: encoder.encode(text) },
];

beforeEach(async () => {
  content = new MemoryContentStore();
  one = await buildImage({ name: "docker.io/library/one:1", layers: [layerOf("one"), layerOf("both")] });
  two = await buildImage({ name: "example.org/two:latest", layers: [layerOf("both"), layerOf("two")] });
  for (const image of [one, two])
    for (const [digest, bytes] of image.blobs) content.blobs.set(digest, { bytes, labels: new Map() });
});

function put(mediaType: string, value: unknown): Descriptor {
  const bytes = encoder.encode(JSON.stringify(value));
  const digest = sha256(bytes);
  content.blobs.set(digest, { bytes, labels: new Map() });
  return { mediaType, digest, size: bytes.length };
}

const bytesOf = async (images: readonly ImageToExport[], options: Partial<ExportOptions> = {}): Promise<Uint8Array> =>
  Buffer.concat(await Array.fromAsync(exportArchive(images, { content, ...options })));

async function entriesOf(images: readonly ImageToExport[], options: Partial<ExportOptions> = {}) {
  const entries = new Map<string, { readonly header: TarEntry["header"]; readonly bytes: Buffer }>();
  for await (const { header, content: body } of readTar(chunked(await bytesOf(images, options)))) {
    entries.set(header.path, { header, bytes: Buffer.concat(await Array.fromAsync(body)) });
  }
  return entries;
}

async function* chunked(bytes: Uint8Array): AsyncGenerator<Uint8Array, void> {
  for (let at = 0; at < bytes.length; at += 1000) yield bytes.subarray(at, at + 1000);
}

const json = (entries: Awaited<ReturnType<typeof entriesOf>>, path: string): unknown =>
  JSON.parse(entries.get(path)?.bytes.toString() ?? "null");

const blobPath = ({ digest }: Pick<Descriptor, "digest">): string => `blobs/${digest.replace(":", "/")}`;

async function codeThrown(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => "ok",
    (error: unknown) => codeName(codeOf(error)),
  );
}

describe("exportArchive", () => {
  it("writes each blob once, read-only, with an index and a manifest for Docker", async () => {
    const entries = await entriesOf([
      { name: one.name, target: one.manifest },
      { name: two.name, target: two.manifest },
      { name: "example.org/again:x", target: two.manifest },
    ]);
    const paths = [...entries.keys()];
    expect(paths).toEqual(paths.toSorted());
    expect(new Set(paths)).toEqual(
      new Set([
        "blobs/",
        "blobs/sha256/",
        ...[...one.blobs.keys(), ...two.blobs.keys()].map((digest) => blobPath({ digest })),
        "index.json",
        "manifest.json",
        "oci-layout",
      ]),
    );
    for (const [path, { header, bytes }] of entries) {
      if (header.type !== "file" || !path.startsWith("blobs/")) continue;
      expect({ path, mode: header.mode }).toEqual({ path: blobPath({ digest: sha256(bytes) }), mode: 0o444 });
    }
    expect(json(entries, "oci-layout")).toEqual({ imageLayoutVersion: "1.0.0" });
    expect(json(entries, "index.json")).toMatchObject({
      schemaVersion: 2,
      manifests: [
        {
          digest: one.manifest.digest,
          annotations: { "io.containerd.image.name": one.name, "org.opencontainers.image.ref.name": "1" },
        },
        { digest: two.manifest.digest, annotations: { "org.opencontainers.image.ref.name": "latest" } },
        { digest: two.manifest.digest, annotations: { "io.containerd.image.name": "example.org/again:x" } },
      ],
    });
    expect(json(entries, "manifest.json")).toEqual([
      { Config: blobPath(one.config), RepoTags: ["one:1"], Layers: one.layers.map(blobPath) },
      {
        Config: blobPath(two.config),
        RepoTags: ["example.org/two:latest", "example.org/again:x"],
        Layers: two.layers.map(blobPath),
      },
    ]);
  });

  it("gives the same bytes for the same images, and what it gives is imported as it was", async () => {
    const images = [one, two].map(({ name, manifest }) => ({ name, target: manifest }));
    const archive = await bytesOf(images);
    expect(sha256(archive)).toBe(sha256(await bytesOf(images)));
    const other = new MemoryContentStore();
    const imported = await importArchive(chunked(archive), { content: other });
    expect(imported.images.map(({ name, target }) => [name, target.digest])).toEqual(
      images.map(({ name, target }) => [name, target.digest]),
    );
    for (const digest of [...one.blobs.keys(), ...two.blobs.keys()]) {
      expect(sha256(other.blobs.get(digest)?.bytes ?? new Uint8Array())).toBe(digest);
    }
  });

  it("takes of an index what is for the platform, with the index itself", async () => {
    const index = put(MediaType.ociIndex, {
      schemaVersion: 2,
      mediaType: MediaType.ociIndex,
      manifests: [
        { ...one.manifest, platform: { os: host.os, architecture: host.architecture } },
        { ...two.manifest, platform: { os: foreign.os, architecture: foreign.architecture } },
      ],
    });
    const target = { name: "example.org/both:1", target: index };
    const mine = await entriesOf([target], { platform: only(host) });
    expect(mine.has(blobPath(index)) && mine.has(blobPath(one.manifest))).toBe(true);
    expect(mine.has(blobPath(two.manifest))).toBe(false);
    expect(json(mine, "manifest.json")).toMatchObject([
      { Config: blobPath(one.config), RepoTags: ["example.org/both:1"] },
    ]);
    expect(json(await entriesOf([target], { platform: only(foreign) }), "manifest.json")).toMatchObject([
      { Config: blobPath(two.config) },
    ]);
    const all = await entriesOf([target]);
    expect(all.has(blobPath(one.manifest)) && all.has(blobPath(two.manifest))).toBe(true);
    expect(await codeThrown(bytesOf([target], { platform: only(parsePlatform("windows/amd64")) }))).toBe("not_found");
    content.blobs.delete(two.config.digest);
    expect(await codeThrown(bytesOf([target], { platform: only(host) }))).toBe("ok");
    expect(await codeThrown(bytesOf([target]))).toBe("not_found");
  });

  it("leaves out what is not asked for: Docker's manifest, layers that are not to be passed on", async () => {
    const secret = put("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "a layer");
    const manifest = put(MediaType.ociManifest, {
      schemaVersion: 2,
      config: one.config,
      layers: [...one.layers, secret],
    });
    const images = [{ name: one.name, target: manifest }];
    expect((await entriesOf(images, { skipDockerManifest: true })).has("manifest.json")).toBe(false);
    expect((await entriesOf(images)).has(blobPath(secret))).toBe(true);
    expect((await entriesOf(images, { skipNonDistributable: true })).has(blobPath(secret))).toBe(false);
    content.blobs.delete(secret.digest);
    expect(await codeThrown(bytesOf(images))).toBe("not_found");
    expect(await codeThrown(bytesOf(images, { skipNonDistributable: true }))).toBe("ok");
  });

  it("says that a blob is missing, or of another size, before the first byte", async () => {
    const [layer] = one.layers;
    if (layer === undefined) throw new Error("no layer");
    const images = [{ target: one.manifest }];
    const blob = content.blobs.get(layer.digest);
    content.blobs.delete(layer.digest);
    expect(await codeThrown(exportArchive(images, { content }).next())).toBe("not_found");
    content.blobs.set(layer.digest, { bytes: Uint8Array.of(...(blob?.bytes ?? []), 0), labels: new Map() });
    expect(await codeThrown(exportArchive(images, { content }).next())).toBe("failed_precondition");
  });

  it("reads a blob only when somebody takes the bytes", async () => {
    let opened = 0;
    const counting: ExportOptions = {
      content: new Proxy(content, {
        get: (store, key) => {
          if (key === "reader") {
            return (digest: Parameters<MemoryContentStore["reader"]>[0]) => {
              opened += 1;
              return store.reader(digest);
            };
          }
          const value: unknown = Reflect.get(store, key);
          return typeof value === "function" ? value.bind(store) : value;
        },
      }),
    };
    const archive = exportArchive([{ target: one.manifest }], counting);
    await archive.next();
    const before = opened;
    expect(before).toBeGreaterThan(0);
    await Array.fromAsync(archive);
    expect(opened - before).toBe(one.blobs.size);
  });
});
