import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";

import type { TarEntryWithContent } from "@berth/archive";
import { writeTar } from "@berth/archive";
import type { Descriptor, Digest, DigestAlgorithm } from "@berth/oci";
import { formatDigest, hostPlatform, MediaType } from "@berth/oci";

/** What to put into an image. */
export interface ImageRecipe {
  /** Name that the archive gives the image, `example.org/name:tag`. */
  readonly name: string;
  /** Entries of each layer, base first. */
  readonly layers: readonly (readonly TarEntryWithContent[])[];
  /** The `config` object of the image configuration. */
  readonly config?: Readonly<Record<string, unknown>>;
  readonly compression?: "gzip" | "none";
  /** Of the digests of blobs; sha256. */
  readonly algorithm?: DigestAlgorithm;
}

/** An image with everything that a test may compare. */
export interface BuiltImage {
  readonly name: string;
  /** OCI layout as one uncompressed tar. */
  readonly archive: Uint8Array;
  readonly manifest: Descriptor;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
  readonly diffIds: readonly Digest[];
  readonly blobs: ReadonlyMap<Digest, Uint8Array>;
}

/** This builds an OCI image; the same recipe gives the same bytes. */
export async function buildImage(recipe: ImageRecipe): Promise<BuiltImage> {
  const blobs = new Map<Digest, Uint8Array>();
  const store = (mediaType: string, bytes: Uint8Array): Descriptor => {
    const digest = digestBytes(bytes, recipe.algorithm ?? "sha256");
    blobs.set(digest, bytes);
    return { mediaType, digest, size: bytes.length };
  };
  const gzip = recipe.compression !== "none";
  const tars = await Promise.all(recipe.layers.map((entries) => collect(writeTar(entries))));
  const layers = tars.map((tar) =>
    gzip ? store(MediaType.ociLayerGzip, gzipSync(tar, { level: 1 })) : store(MediaType.ociLayer, tar),
  );
  const diffIds = tars.map(sha256);
  const config = store(MediaType.ociConfig, json(imageConfig(recipe, diffIds)));
  const manifest = store(
    MediaType.ociManifest,
    json({ schemaVersion: 2, mediaType: MediaType.ociManifest, config, layers }),
  );
  const archive = await collect(writeTar(layoutEntries(recipe.name, manifest, blobs)));
  return { name: recipe.name, archive, manifest, config, layers, diffIds, blobs };
}

/** This returns the digest of bytes. */
export function sha256(bytes: Uint8Array): Digest {
  return digestBytes(bytes, "sha256");
}

/** This returns the digest of bytes, by an algorithm. */
export function digestBytes(bytes: Uint8Array, algorithm: DigestAlgorithm): Digest {
  return formatDigest(algorithm, createHash(algorithm).update(bytes).digest("hex"));
}

function imageConfig({ config }: ImageRecipe, diffIds: readonly Digest[]): unknown {
  const { os, architecture } = hostPlatform();
  return {
    created: "1970-01-01T00:00:00Z",
    architecture,
    os,
    config: config ?? {},
    rootfs: { type: "layers", diff_ids: diffIds },
  };
}

function layoutEntries(
  name: string,
  manifest: Descriptor,
  blobs: ReadonlyMap<Digest, Uint8Array>,
): TarEntryWithContent[] {
  const { os, architecture } = hostPlatform();
  const annotations = {
    "io.containerd.image.name": name,
    "org.opencontainers.image.ref.name": name.split(":").at(-1) ?? "",
  };
  const index = { schemaVersion: 2, manifests: [{ ...manifest, annotations, platform: { os, architecture } }] };
  const file = (path: string, content: Uint8Array): TarEntryWithContent => ({
    path,
    type: "file",
    size: content.length,
    content,
  });
  return [
    file("oci-layout", json({ imageLayoutVersion: "1.0.0" })),
    file("index.json", json(index)),
    ...[...blobs].map(([digest, bytes]) => file(`blobs/${digest.replace(":", "/")}`, bytes)),
  ];
}

function json(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}

async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  return Buffer.concat(await Array.fromAsync(chunks));
}
