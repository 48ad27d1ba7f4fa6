import { detectCompression } from "@berth/archive";
import type { CallOptions } from "@berth/core/any";
import type { ContentStore } from "@berth/core/content";
import { writeBlob } from "@berth/core/content";
import { UNCOMPRESSED_LABEL } from "@berth/core/diff";
import { invalidArgument } from "@berth/errors";
import type { Descriptor, Digest, Platform } from "@berth/oci";
import { formatDigest, MediaType, normalizePlatform, parseReference } from "@berth/oci";
import { createHash } from "node:crypto";

import { convertLayer } from "./convert-layer.ts";
import { descriptorJson, encodeGoJson } from "./go-json.ts";
import { normalizeDockerReference } from "./image-names.ts";
import type { ArchiveContents, StoredFile } from "./read-archive.ts";
import { readImageConfig } from "./resolve-manifest.ts";

/** An image as `manifest.json` lists it. */
interface DockerImage {
  readonly config: string;
  readonly repoTags: readonly string[];
  readonly layers: readonly string[];
}

/** How a Docker archive is taken in. */
export interface DockerArchiveOptions extends CallOptions {
  /** Store layers that are not compressed, as `docker save` writes them, by gzip. */
  readonly compressLayers?: boolean | undefined;
}

export const IMAGE_NAME_ANNOTATION = "io.containerd.image.name";
export const REF_NAME_ANNOTATION = "org.opencontainers.image.ref.name";

/**
 * This writes a manifest for each image of a Docker archive and an index of them, byte for byte those of containerd, and
 * returns the index. Layers are compressed only where the options say so: the same archive then gives the same image here, not there.
 *
 * @throws invalid_argument - `manifest.json` is malformed or names files that the archive has not
 * @throws failed_precondition - a layer to be compressed is not the one that its configuration names
 * @see containerd core/images/archive/importer.go, ImportIndex
 */
export async function convertDockerArchive(
  content: ContentStore,
  { files }: ArchiveContents,
  dockerManifest: Uint8Array,
  options?: DockerArchiveOptions,
): Promise<Descriptor> {
  const manifests: Descriptor[] = [];
  for (const image of parseDockerManifest(dockerManifest)) {
    const descriptor = await writeImage(content, files, image, options);
    manifests.push(...namedDescriptors(descriptor, image.repoTags));
  }
  return writeJson(
    content,
    MediaType.ociIndex,
    { schemaVersion: 2, manifests: manifests.map(descriptorJson) },
    options,
  );
}

async function writeImage(
  content: ContentStore,
  files: ReadonlyMap<string, StoredFile>,
  image: DockerImage,
  options: DockerArchiveOptions | undefined,
): Promise<Descriptor> {
  const config = { mediaType: MediaType.dockerConfig, ...fileOf(files, image.config) };
  const stored = image.layers.map((name) => fileOf(files, name));
  const compressed = await findCompressed(content, stored, options);
  const layers: Descriptor[] = [];
  for (const layer of stored) {
    const file = compressed.get(layer.digest) ?? layer;
    layers.push({ mediaType: await layerType(content, file, options), digest: file.digest, size: file.size });
  }
  if (options?.compressLayers === true) await compressPlain(content, config, layers, options);
  const manifest = {
    schemaVersion: 2,
    mediaType: MediaType.dockerManifest,
    config: descriptorJson(config),
    layers: layers.map(descriptorJson),
  };
  const descriptor = await writeJson(content, MediaType.dockerManifest, manifest, options);
  return { ...descriptor, platform: await configPlatform(content, config, options) };
}

async function compressPlain(
  content: ContentStore,
  config: Descriptor,
  layers: Descriptor[],
  { signal }: CallOptions,
): Promise<void> {
  const { diffIds } = await readImageConfig(content, config, { signal });
  for (const [index, layer] of layers.entries()) {
    const diffId = diffIds[index];
    // An image that lacks one is refused when it is unpacked.
    if (diffId === undefined || layer.mediaType !== MediaType.dockerLayer) continue;
    layers[index] = await convertLayer(layer, diffId, { content, compression: "gzip", signal });
  }
}

/** A layer that an earlier pull left in compressed form is used in that form: its registry knows it by that digest. */
async function findCompressed(
  content: ContentStore,
  layers: readonly StoredFile[],
  options: CallOptions | undefined,
): Promise<ReadonlyMap<Digest, StoredFile>> {
  const found = new Map<Digest, StoredFile>();
  if (layers.length === 0) return found;
  const filters = layers.map(({ digest }) => `labels."${UNCOMPRESSED_LABEL}"==${digest}`);
  for await (const info of content.list({ ...options, filters })) {
    const uncompressed = layers.find(({ digest }) => info.labels.get(UNCOMPRESSED_LABEL) === digest);
    if (uncompressed !== undefined) found.set(uncompressed.digest, { digest: info.digest, size: info.size });
  }
  return found;
}

async function layerType(content: ContentStore, file: StoredFile, options?: CallOptions): Promise<string> {
  await using reader = await content.reader(file.digest, options);
  const compression = detectCompression(await reader.readAt(0, 10, options));
  // containerd calls every compressed layer gzip here; what reads it looks at its first bytes again.
  return compression === "none" ? MediaType.dockerLayer : MediaType.dockerLayerGzip;
}

async function configPlatform(content: ContentStore, config: Descriptor, options?: CallOptions): Promise<Platform> {
  return normalizePlatform((await readImageConfig(content, config, options)).platform);
}

function namedDescriptors(descriptor: Descriptor, repoTags: readonly string[]): Descriptor[] {
  if (repoTags.length === 0) return [descriptor];
  return repoTags.map((tag) => {
    const name = normalizeDockerReference(tag);
    const annotations = { [IMAGE_NAME_ANNOTATION]: name, [REF_NAME_ANNOTATION]: parseReference(name).object };
    return Object.assign({ annotations }, descriptor);
  });
}

async function writeJson(
  content: ContentStore,
  mediaType: string,
  value: unknown,
  options: CallOptions | undefined,
): Promise<Descriptor> {
  const bytes = encodeGoJson(value);
  const digest = formatDigest("sha256", createHash("sha256").update(bytes).digest("hex"));
  const descriptor = { mediaType, digest, size: bytes.length };
  await writeBlob(content, `manifest-${digest}`, [bytes], descriptor, options);
  return descriptor;
}

function fileOf(files: ReadonlyMap<string, StoredFile>, name: string): StoredFile {
  const file = files.get(name);
  if (file === undefined)
    throw invalidArgument(`archive has no file ${JSON.stringify(name)}, which manifest.json names`);
  return file;
}

function parseDockerManifest(bytes: Uint8Array): DockerImage[] {
  let images: unknown;
  try {
    images = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw invalidArgument("manifest.json of the archive is not JSON", { cause: error });
  }
  if (!Array.isArray(images)) throw invalidArgument("manifest.json of the archive is not a list");
  return images.map(parseDockerImage);
}

function parseDockerImage(image: unknown): DockerImage {
  const fields = new Map<string, unknown>(typeof image === "object" && image !== null ? Object.entries(image) : []);
  const config = fields.get("Config");
  if (typeof config !== "string") throw invalidArgument("manifest.json of the archive names no Config");
  return { config, repoTags: stringList(fields.get("RepoTags")), layers: stringList(fields.get("Layers")) };
}

function stringList(value: unknown): string[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw invalidArgument("manifest.json of the archive: expected a list of strings");
  return value.map((entry: unknown) => {
    if (typeof entry !== "string") throw invalidArgument("manifest.json of the archive: expected a list of strings");
    return entry;
  });
}
