import { type TarEntryWithContent, writeTar } from "@berth/archive";
import type { CallOptions } from "@berth/core/any";
import type { ContentInfo, ContentStore } from "@berth/core/content";
import { streamBlob } from "@berth/core/content";
import { DISTRIBUTION_SOURCE } from "@berth/core/distribution-source";
import { failedPrecondition } from "@berth/errors";
import type { Descriptor, Digest, PlatformMatcher } from "@berth/oci";
import { digestAlgorithm, digestHex, MediaType, parseReference } from "@berth/oci";

import { IMAGE_NAME_ANNOTATION, REF_NAME_ANNOTATION } from "./docker-archive.ts";
import { dockerManifest } from "./export-docker-manifest.ts";
import { descriptorJson, encodeGoJson } from "./go-json.ts";
import { children } from "./image-children.ts";
import { filterPlatforms, walk } from "./walk.ts";

/** An image that goes into an archive. */
export interface ImageToExport {
  readonly target: Descriptor;
  /** Without a name the archive lists it by its digest alone. */
  readonly name?: string;
}

/** Options of {@link exportArchive}. */
export interface ExportOptions extends CallOptions {
  readonly content: ContentStore;
  /** Of an index, only what fits goes into the archive; all of it when absent. */
  readonly platform?: PlatformMatcher;
  /** Leave out `manifest.json`, by which Docker reads the archive. */
  readonly skipDockerManifest?: boolean;
  /** Leave out layers that are not to be passed on; else they must be in the store. */
  readonly skipNonDistributable?: boolean;
  /** Told of each blob when it has been read. */
  readonly onBlob?: (descriptor: Descriptor) => void;
}

/** The layout's version, as its file `oci-layout` tells it. */
const LAYOUT = { imageLayoutVersion: "1.0.0" };

interface Blob {
  readonly descriptor: Descriptor;
  readonly info: ContentInfo;
}

/**
 * This yields a tar with images in the OCI layout, which Docker reads too. The same images give the same bytes. Blobs are read when they
 * are asked for; that all are there is looked up before the first byte is given out.
 *
 * @throws not_found - a blob is missing, or an image has nothing for the platform
 * @throws failed_precondition - a blob has another size than its descriptor says
 * @throws invalid_argument - an image is neither manifest nor index, or malformed
 * @see containerd core/images/archive/exporter.go, Export
 */
export async function* exportArchive(
  images: readonly ImageToExport[],
  options: ExportOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const blobs = await collectBlobs(images, options);
  const docker = await dockerManifest(images, options);
  const index = indexOf(images, blobs);
  yield* writeTar(
    archiveEntries(blobs, { index, docker: options.skipDockerManifest === true ? undefined : docker }, options),
  );
}

/** What the archive will hold, each blob once. */
async function collectBlobs(
  images: readonly ImageToExport[],
  options: ExportOptions,
): Promise<ReadonlyMap<Digest, Blob>> {
  const { content, platform, signal } = options;
  const read = (descriptor: Descriptor): Promise<readonly Descriptor[]> => children(content, descriptor, { signal });
  const handler = platform === undefined ? read : filterPlatforms(read, platform);
  const blobs = new Map<Digest, Blob>();
  for (const { target } of images) {
    for await (const descriptor of walk(target, handler)) {
      signal?.throwIfAborted();
      if (options.skipNonDistributable === true && isNonDistributable(descriptor)) continue;
      if (!blobs.has(descriptor.digest)) blobs.set(descriptor.digest, await stat(descriptor, options));
    }
  }
  return blobs;
}

async function stat(descriptor: Descriptor, { content, signal }: ExportOptions): Promise<Blob> {
  const info = await content.info(descriptor.digest, { signal });
  if (info.size === descriptor.size) return { descriptor, info };
  throw failedPrecondition(`blob ${descriptor.digest} has ${info.size} bytes, its descriptor says ${descriptor.size}`);
}

function isNonDistributable({ mediaType }: Descriptor): boolean {
  return /\.(?:nondistributable|foreign)\./.test(mediaType);
}

function indexOf(images: readonly ImageToExport[], blobs: ReadonlyMap<Digest, Blob>): Uint8Array {
  const manifests = images.map(({ name, target }) => {
    const sources = [...(blobs.get(target.digest)?.info.labels ?? [])].filter(([key]) =>
      key.startsWith(DISTRIBUTION_SOURCE),
    );
    const names = name === undefined ? {} : { [IMAGE_NAME_ANNOTATION]: name, [REF_NAME_ANNOTATION]: objectOf(name) };
    const annotations = { ...target.annotations, ...Object.fromEntries(sources), ...names };
    return descriptorJson(Object.keys(annotations).length === 0 ? target : { ...target, annotations });
  });
  return encodeGoJson({ schemaVersion: 2, mediaType: MediaType.ociIndex, manifests });
}

/** The tag of a name; all of a name that is no reference. */
function objectOf(name: string): string {
  try {
    return parseReference(name).object;
  } catch {
    return name;
  }
}

/** In the order of their names, as containerd has them. */
function* archiveEntries(
  blobs: ReadonlyMap<Digest, Blob>,
  { index, docker }: { readonly index: Uint8Array; readonly docker: Uint8Array | undefined },
  options: ExportOptions,
): Generator<TarEntryWithContent, void, undefined> {
  yield { path: "blobs/", type: "directory", mode: 0o755 };
  let algorithm = "";
  const sorted = [...blobs.values()].toSorted((one, other) =>
    one.descriptor.digest < other.descriptor.digest ? -1 : 1,
  );
  for (const { descriptor } of sorted) {
    const { digest, size } = descriptor;
    if (algorithm !== digestAlgorithm(digest)) {
      algorithm = digestAlgorithm(digest);
      yield { path: `blobs/${algorithm}/`, type: "directory", mode: 0o755 };
    }
    const path = `blobs/${algorithm}/${digestHex(digest)}`;
    yield { path, type: "file", size, mode: 0o444, content: bytesOf(descriptor, options) };
  }
  yield { path: "index.json", type: "file", mode: 0o644, content: index };
  if (docker !== undefined) yield { path: "manifest.json", type: "file", mode: 0o644, content: docker };
  yield { path: "oci-layout", type: "file", mode: 0o444, content: encodeGoJson(LAYOUT) };
}

async function* bytesOf(
  descriptor: Descriptor,
  { content, signal, onBlob }: ExportOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  yield* streamBlob(content, descriptor.digest, { signal });
  onBlob?.(descriptor);
}
