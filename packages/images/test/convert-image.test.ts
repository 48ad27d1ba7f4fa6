import { gunzipSync, gzipSync, zstdDecompressSync } from "node:zlib";

import { codeName, codeOf } from "@berth/errors";
import type { Descriptor, Digest } from "@berth/oci";
import { EROFS_LAYER, hostPlatform, MediaType, only, parsePlatform } from "@berth/oci";
import type { BuiltImage } from "@berth/testing";
import { buildImage, MemoryContentStore, sha256 } from "@berth/testing";
import { beforeEach, describe, expect, it } from "vitest";

import type { ConvertOptions } from "../src/index.ts";
import { convertImage } from "../src/index.ts";

const encoder = new TextEncoder();
const { os, architecture } = hostPlatform();
const foreign = parsePlatform(architecture === "arm64" ? "linux/amd64" : "linux/arm64");

let content: MemoryContentStore;
let one: BuiltImage;
let two: BuiltImage;

const layerOf = (text: string) => [
  { path: "file", type: "file" as const, size: text.length, content: encoder.encode(text) },
];

function putBytes(mediaType: string, bytes: Uint8Array): Descriptor {
  const digest = sha256(bytes);
  content.blobs.set(digest, { bytes, labels: new Map() });
  return { mediaType, digest, size: bytes.length };
}

const put = (mediaType: string, value: unknown): Descriptor =>
  putBytes(mediaType, encoder.encode(JSON.stringify(value)));

const bytesOf = (digest: Digest): Uint8Array => content.blobs.get(digest)?.bytes ?? new Uint8Array();

const read = ({ digest }: Pick<Descriptor, "digest">) => JSON.parse(new TextDecoder().decode(bytesOf(digest)));

const convert = (target: Descriptor, options: Partial<ConvertOptions> = {}): Promise<Descriptor> =>
  convertImage(target, { content, ...options });

const codeThrown = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => "ok",
    (error: unknown) => codeName(codeOf(error)),
  );

beforeEach(async () => {
  content = new MemoryContentStore();
  one = await buildImage({ name: "example.org/one:1", layers: [layerOf("one"), layerOf("both")] });
  two = await buildImage({ name: "example.org/two:1", layers: [layerOf("both"), layerOf("two")] });
  for (const image of [one, two])
    for (const [digest, bytes] of image.blobs) content.blobs.set(digest, { bytes, labels: new Map() });
});

/** The manifest of `one` in Docker's words, with a field that nobody knows, and a layer that is named wrongly. */
function dockerManifest(): Descriptor {
  const [first, second] = one.layers;
  return put(MediaType.dockerManifest, {
    schemaVersion: 2,
    mediaType: MediaType.dockerManifest,
    config: { ...one.config, mediaType: MediaType.dockerConfig },
    layers: [
      { ...first, mediaType: MediaType.dockerLayerGzip },
      { ...second, mediaType: MediaType.dockerLayer },
    ],
    ours: { kept: true },
  });
}

describe("convertImage", () => {
  it.each([
    ["none", MediaType.ociLayer, (bytes: Uint8Array) => bytes],
    ["zstd", MediaType.ociLayerZstd, zstdDecompressSync],
  ] as const)("gives layers compressed by %s, whose tars are the same", async (compression, mediaType, open) => {
    const told: string[] = [];
    const made = await convert(one.manifest, { compression, onLayer: ({ digest }) => told.push(digest) });
    expect(made.digest).not.toBe(one.manifest.digest);
    const { config, layers } = read(made);
    expect(config.digest).toBe(one.config.digest);
    for (const [index, layer] of layers.entries()) {
      expect(layer).toMatchObject({ mediaType, size: bytesOf(layer.digest).length });
      expect(sha256(open(bytesOf(layer.digest)))).toBe(one.diffIds[index]);
      expect(content.blobs.get(layer.digest)?.labels.get("containerd.io/uncompressed")).toBe(one.diffIds[index]);
    }
    expect(told.toSorted()).toEqual(one.layers.map(({ digest }) => digest).toSorted());
    expect(content.ingests.size).toBe(0);
    // It keeps its children from the collector.
    expect([...(content.blobs.get(made.digest)?.labels.values() ?? [])]).toEqual(
      expect.arrayContaining([config.digest, ...layers.map(({ digest }: Descriptor) => digest)]),
    );
    expect(await convert(one.manifest, { compression })).toEqual(made);
    expect(await convert(made, { compression })).toEqual(made);
  });

  it("gives back what was compressed anew, under its diff ids", async () => {
    const plain = await convert(one.manifest, { compression: "none" });
    const again = await convert(plain, { compression: "gzip" });
    const { layers } = read(again);
    expect(layers.map(({ digest }: Descriptor) => sha256(gunzipSync(bytesOf(digest))))).toEqual(one.diffIds);
  });

  it("names types as OCI does, by the bytes of layers, and keeps what it does not know", async () => {
    const made = await convert(dockerManifest(), { oci: true });
    expect(made.mediaType).toBe(MediaType.ociManifest);
    const [first, second] = one.layers;
    expect(read(made)).toEqual({
      schemaVersion: 2,
      mediaType: MediaType.ociManifest,
      config: one.config,
      layers: [first, { ...second, mediaType: MediaType.ociLayerGzip }],
      ours: { kept: true },
    });
  });

  it("keeps Docker's names unless told otherwise", async () => {
    const { layers } = read(await convert(dockerManifest(), { compression: "zstd" }));
    expect(layers.map(({ mediaType }: Descriptor) => mediaType)).toEqual(Array(2).fill(MediaType.dockerLayerZstd));
  });

  it("of an index converts what is for the platform, a shared layer once, and renames what is attested", async () => {
    const attestation = put(MediaType.ociManifest, {
      schemaVersion: 2,
      config: put(MediaType.ociConfig, { architecture: "unknown", os: "unknown", rootfs: { diff_ids: [] } }),
      layers: [put("application/vnd.in-toto+json", { statement: 1 })],
    });
    const index = put(MediaType.ociIndex, {
      schemaVersion: 2,
      mediaType: MediaType.ociIndex,
      annotations: { by: "hand" },
      manifests: [
        { ...one.manifest, platform: { os, architecture } },
        { ...two.manifest, platform: { os: foreign.os, architecture: foreign.architecture } },
        { ...attestation, annotations: { "vnd.docker.reference.digest": one.manifest.digest } },
      ],
    });
    const told: string[] = [];
    const all = await convert(index, { compression: "zstd", onLayer: ({ digest }) => told.push(digest) });
    expect(told).toHaveLength(3);
    const { manifests, annotations } = read(all);
    expect(annotations).toEqual({ by: "hand" });
    expect(manifests.map(({ platform }: Descriptor) => platform?.architecture)).toEqual([
      architecture,
      foreign.architecture,
      undefined,
    ]);
    expect(manifests[2]).toMatchObject({
      digest: attestation.digest,
      annotations: { "vnd.docker.reference.digest": manifests[0].digest },
    });
    const mine = read(await convert(index, { compression: "zstd", platform: only(hostPlatform()) }));
    expect(mine.manifests).toEqual([manifests[0]]);
    expect(await codeThrown(convert(index, { platform: only(parsePlatform("linux/s390x")) }))).toBe("not_found");
    expect(await convert(index)).toEqual(index);
  });

  it("refuses a layer that is not the one that the configuration names, and leaves nothing of it", async () => {
    const other = putBytes(MediaType.ociLayerGzip, gzipSync(encoder.encode("another tar")));
    const manifest = put(MediaType.ociManifest, {
      schemaVersion: 2,
      config: one.config,
      layers: [one.layers[0], other],
    });
    const before = content.blobs.size;
    expect(await codeThrown(convert(manifest, { compression: "none" }))).toBe("failed_precondition");
    expect(content.ingests.size).toBe(0);
    // At most the layer that was right.
    expect(content.blobs.size).toBeLessThanOrEqual(before + 1);
  });

  it.each([
    ["a layer that is missing", "not_found", () => content.blobs.delete(one.layers[0]?.digest ?? one.config.digest)],
    [
      "a layer that is cut off",
      "data_loss",
      () => {
        const digest = one.layers[0]?.digest ?? one.config.digest;
        content.blobs.set(digest, { bytes: bytesOf(digest).subarray(0, 40), labels: new Map() });
      },
    ],
  ])("fails for %s", async (_name, code, harm) => {
    harm();
    expect(await codeThrown(convert(one.manifest, { compression: "zstd" }))).toBe(code);
    expect(content.ingests.size).toBe(0);
  });

  it("says of an EROFS layer among others that it is not recompressed, and only renames what is around it", async () => {
    const erofs = putBytes(EROFS_LAYER, encoder.encode("an image"));
    const docker = { ...one.config, mediaType: MediaType.dockerConfig };
    const manifest = put(MediaType.ociManifest, { schemaVersion: 2, config: docker, layers: [one.layers[0], erofs] });
    expect(await codeThrown(convert(manifest, { compression: "zstd" }))).toBe("unimplemented");
    const { config, layers } = read(await convert(manifest, { oci: true }));
    expect(config).toEqual(one.config);
    expect(layers).toEqual([one.layers[0], erofs]);
  });

  it("says of an encrypted layer that it is not recompressed, and keeps layers from elsewhere", async () => {
    const encrypted = { ...one.layers[1], mediaType: `${MediaType.ociLayerGzip}+encrypted` };
    const foreignLayer = {
      mediaType: MediaType.dockerForeignLayerGzip,
      digest: sha256(encoder.encode("elsewhere")),
      size: 9,
      urls: ["https://example.org/layer"],
    };
    const manifestOf = (layer: unknown) =>
      put(MediaType.ociManifest, { schemaVersion: 2, config: one.config, layers: [one.layers[0], layer] });
    expect(await codeThrown(convert(manifestOf(encrypted), { compression: "zstd" }))).toBe("unimplemented");
    const { layers } = read(await convert(manifestOf(foreignLayer), { compression: "none", oci: true }));
    expect(layers[1]).toEqual({
      ...foreignLayer,
      mediaType: "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    });
  });
});

it("goes once through indexes that list each other many times over, each entry keeping what is said of it there", async () => {
  let nested = put(MediaType.ociIndex, { schemaVersion: 2, manifests: [one.manifest] });
  for (let depth = 0; depth < 6; depth++) {
    const manifests = Array.from({ length: 50 }, (_each, at) => ({ ...nested, annotations: { at: String(at) } }));
    nested = put(MediaType.ociIndex, { schemaVersion: 2, manifests });
  }
  const converted = await convert(nested, { compression: "none" });
  const { manifests } = read(converted);
  expect(manifests).toHaveLength(50);
  expect(manifests[49]).toEqual({ ...manifests[0], annotations: { at: "49" } });
  expect(manifests[0].digest).not.toBe(read(nested).manifests[0].digest);
});
