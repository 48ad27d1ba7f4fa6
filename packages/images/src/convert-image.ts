import type { Compression } from "@berth/archive";
import type { CallOptions } from "@berth/core/any";
import type { ContentStore } from "@berth/core/content";
import { Turns } from "@berth/core/turns";
import { invalidArgument, notFound } from "@berth/errors";
import type { Descriptor, PlatformMatcher } from "@berth/oci";
import { isConfigType, isIndexType, isLayerType, isManifestType } from "@berth/oci";

import { convertLayer } from "./convert-layer.ts";
import { type ErofsConversion, type ErofsLayer, convertToErofs } from "./erofs/convert-to-erofs.ts";
import { erofsConfig, erofsPlatform } from "./erofs/erofs-config.ts";
import { descriptorJson } from "./go-json.ts";
import { readIndex, readManifest } from "./image-children.ts";
import type { ImageDocument } from "./image-document.ts";
import { asDocument, readDocument, writeDocument } from "./image-document.ts";
import { toOciType } from "./layer-types.ts";
import { readImageConfig } from "./resolve-manifest.ts";

/** Options of {@link convertImage}. */
export interface ConvertOptions extends CallOptions {
  /** Where the image is, and its conversion goes; the caller holds a lease for that. */
  readonly content: ContentStore;
  /** Keep only what is for these; every platform when absent, all of which must be there. */
  readonly platform?: PlatformMatcher;
  /** How layers are to be compressed; as they are when absent. */
  readonly compression?: Compression;
  /** Make EROFS images of layers, instead of another compression; the platform gets the feature `erofs`. */
  readonly erofs?: ErofsConversion;
  /** Replace Docker's media types by those of OCI. */
  readonly oci?: boolean;
  /** So many layers are converted at once; 2. */
  readonly concurrency?: number;
  /** Told of each layer that has become another. */
  readonly onLayer?: (before: Descriptor, after: Descriptor) => void;
}

/** On the manifest of an attestation: the manifest that it is about. */
const ATTESTED = "vnd.docker.reference.digest";
const DEFAULT_CONCURRENCY = 2;

/**
 * This makes another image of one, with the same files: other media types, another compression or format of layers, fewer platforms. What need not change keeps its digest, fields that are not known here included. The
 * same image gives the same conversion.
 *
 * @returns what the new image stands for: `target` itself where there was nothing to do
 * @throws not_found - a blob is missing, or nothing is for the platform
 * @throws failed_precondition - a layer is not the one that the configuration names, or there is no mkfs.erofs; unimplemented - it cannot be read
 * @throws invalid_argument - neither manifest nor index, or malformed
 * @see containerd core/images/converter/default.go, DefaultIndexConvertFunc
 */
export async function convertImage(target: Descriptor, options: ConvertOptions): Promise<Descriptor> {
  await using conversion = new Conversion(options);
  const converted = await conversion.convert(target);
  if (converted === undefined) throw notFound(`image ${target.digest} has nothing for the platform`);
  return converted;
}

class Conversion implements AsyncDisposable {
  readonly #options: ConvertOptions;
  readonly #over = new AbortController();
  readonly #turns: Turns;
  /** Platforms share layers: each is converted once. */
  readonly #layers = new Map<string, Promise<ErofsLayer>>();
  /** What has become of indexes: one may list another many times over. */
  readonly #indexes = new Map<string, Descriptor | undefined>();

  constructor(options: ConvertOptions) {
    const { signal } = options;
    const over = this.#over.signal;
    this.#options = { ...options, signal: signal === undefined ? over : AbortSignal.any([signal, over]) };
    this.#turns = new Turns(options.concurrency ?? DEFAULT_CONCURRENCY);
  }

  /** The first failure ends the other layers; none goes on behind the caller's back. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.abort();
    await Promise.allSettled(this.#layers.values());
  }

  /** `undefined` when it is for other platforms. */
  async convert(target: Descriptor): Promise<Descriptor | undefined> {
    this.#options.signal?.throwIfAborted();
    const { platform } = this.#options;
    if (isIndexType(target.mediaType)) return this.#indexOnce(target);
    if (platform !== undefined && target.platform !== undefined && !platform.matches(target.platform)) return undefined;
    if (isManifestType(target.mediaType)) return this.#manifest(target);
    throw invalidArgument(`${target.digest} is neither a manifest nor an index, but ${target.mediaType}`);
  }

  async #indexOnce(target: Descriptor): Promise<Descriptor | undefined> {
    const key = `${target.mediaType} ${target.digest}`;
    if (!this.#indexes.has(key)) this.#indexes.set(key, await this.#index(target));
    const known = this.#indexes.get(key);
    return known && replaced(target, known);
  }

  async #index(target: Descriptor): Promise<Descriptor | undefined> {
    const { content } = this.#options;
    const { manifests } = await readIndex(content, target, this.#options);
    const entries: { readonly before: Descriptor; readonly after: Descriptor }[] = [];
    for (const before of manifests) {
      const after = await this.#entry(before);
      if (after !== undefined) entries.push({ before, after });
    }
    if (entries.length === 0) return undefined;
    const renamed = new Map(entries.map(({ before, after }) => [before.digest, after.digest]));
    const children = entries.map(({ after }) => attesting(after, renamed));
    const document = await readDocument(content, target, this.#options);
    return this.#rewrite(target, document, { manifests: children.map(descriptorJson) }, children);
  }

  async #entry(before: Descriptor): Promise<Descriptor | undefined> {
    // Something else than an image: it is kept as it is.
    if (!isIndexType(before.mediaType) && !isManifestType(before.mediaType)) return before;
    return this.convert(before);
  }

  async #manifest(target: Descriptor): Promise<Descriptor | undefined> {
    const { content, platform } = this.#options;
    const { config, layers } = await readManifest(content, target, this.#options);
    if (!isConfigType(config.mediaType)) return target;
    const { diffIds, platform: own } = await readImageConfig(content, config, this.#options);
    // Only where the index did not tell.
    if (platform !== undefined && target.platform === undefined && !platform.matches(own)) return undefined;
    // Attestations and other artifacts look like images, and their layers are none.
    if (diffIds.length !== layers.length || layers.some(({ mediaType }) => !isLayerType(mediaType)))
      return this.#retyped(target, config, layers);
    const converted = await Promise.all(
      layers.map((layer, index) => this.#layer(layer, diffIds[index] ?? layer.digest)),
    );
    const newLayers = converted.map(({ layer }) => layer);
    // Those that were EROFS images before say nothing of what is made here.
    const isNew = newLayers.some(({ digest }, index) => digest !== layers[index]?.digest);
    if (this.#options.erofs === undefined || !isNew) return this.#retyped(target, config, newLayers);
    const newDiffIds = converted.map(({ diffId }) => diffId);
    const newConfig = await erofsConfig(content, config, newDiffIds, this.#options);
    const made = await this.#retyped(target, newConfig, newLayers);
    return { ...made, platform: erofsPlatform(target.platform ?? own) };
  }

  async #retyped(target: Descriptor, config: Descriptor, layers: readonly Descriptor[]): Promise<Descriptor> {
    const { content, oci } = this.#options;
    const document = await readDocument(content, target, this.#options);
    const newConfig = oci === true ? { ...config, mediaType: toOciType(config.mediaType) } : config;
    const fields = { config: descriptorJson(newConfig), layers: layers.map(descriptorJson) };
    return this.#rewrite(target, document, fields, [newConfig, ...layers]);
  }

  #layer(layer: Descriptor, diffId: Descriptor["digest"]): Promise<ErofsLayer> {
    const { onLayer, signal, content, compression, erofs, oci } = this.#options;
    const key = `${layer.mediaType} ${layer.digest} ${diffId}`;
    const known = this.#layers.get(key);
    if (known !== undefined) return known;
    const converting = this.#turns.run(async () => {
      signal?.throwIfAborted();
      const converted =
        erofs === undefined
          ? { layer: await convertLayer(layer, diffId, { content, compression, oci, signal }), diffId }
          : await convertToErofs(content, layer, diffId, { ...erofs, signal });
      if (converted.layer.digest !== layer.digest) onLayer?.(layer, converted.layer);
      return converted;
    });
    this.#layers.set(key, converting);
    return converting;
  }

  /** Stores a document with other children, unless they are the same. */
  async #rewrite(
    target: Descriptor,
    document: ImageDocument,
    fields: ImageDocument,
    children: readonly Descriptor[],
  ): Promise<Descriptor> {
    const { content, oci, signal } = this.#options;
    const mediaType = oci === true ? toOciType(target.mediaType) : target.mediaType;
    const own = "mediaType" in document || mediaType !== target.mediaType ? { mediaType } : {};
    const next = { ...document, ...own, ...fields };
    const isSame = mediaType === target.mediaType && sameFields(document, next);
    if (isSame) return target;
    return replaced(target, await writeDocument(content, mediaType, next, { children, signal }));
  }
}

/** What stands for another document where `target` stood. */
function replaced(target: Descriptor, { mediaType, digest, size }: Descriptor): Descriptor {
  if (mediaType === target.mediaType && digest === target.digest) return target;
  const { data: _old, urls: _gone, ...rest } = target;
  return { ...rest, mediaType, digest, size };
}

/** Whether each child is what it was: fields that a descriptor has and nobody here knows are no reason to write it again. */
function sameFields(before: ImageDocument, after: ImageDocument): boolean {
  return ["config", "layers", "manifests"].every((name) => keysOf(before[name]) === keysOf(after[name]));
}

function keysOf(value: unknown): string {
  if (value === undefined || value === null) return "";
  const all = Array.isArray(value) ? value : [value];
  return JSON.stringify(
    all.map((each) => {
      const { mediaType, digest, annotations = {} } = asDocument(each, "descriptor");
      return [mediaType, digest, asDocument(annotations, "annotations")[ATTESTED]];
    }),
  );
}

function attesting(descriptor: Descriptor, renamed: ReadonlyMap<string, string>): Descriptor {
  const about = descriptor.annotations?.[ATTESTED];
  const now = about === undefined ? undefined : renamed.get(about);
  return now === undefined
    ? descriptor
    : { ...descriptor, annotations: { ...descriptor.annotations, [ATTESTED]: now } };
}
