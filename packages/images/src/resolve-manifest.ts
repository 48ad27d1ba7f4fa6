import type { CallOptions } from "@berth/core/any";
import type { ContentProvider } from "@berth/core/content";
import { invalidArgument, notFound, resourceExhausted } from "@berth/errors";
import type { Descriptor, Digest, ImageConfig, ImageManifest, Platform, PlatformMatcher } from "@berth/oci";
import { chainIds, isConfigType, isIndexType, isManifestType, normalizePlatform, parseImageConfig } from "@berth/oci";

import { readIndex, readJson, readManifest } from "./image-children.ts";
import type { ChildrenHandler } from "./walk.ts";
import { isSeen, walk } from "./walk.ts";

/** A manifest with the descriptor that led to it. */
export interface ResolvedManifest {
  readonly descriptor: Descriptor;
  readonly manifest: ImageManifest;
}

/**
 * This returns the manifest that `target` is, or the best one for the platform in the index that it is. A manifest that
 * is the target itself is taken whatever its platform.
 *
 * @throws not_found - no manifest for the platform, or a blob is missing
 * @throws invalid_argument - the target is neither manifest nor index, or is malformed
 * @throws resource_exhausted - no manifest for the platform but perhaps deeper than 8 indexes in each other
 * @see containerd core/images/image.go, Manifest
 */
export async function resolveManifest(
  content: ContentProvider,
  target: Descriptor,
  platform: PlatformMatcher,
  options?: CallOptions,
): Promise<ResolvedManifest> {
  if (isManifestType(target.mediaType)) {
    return { descriptor: target, manifest: await readManifest(content, target, options) };
  }
  if (!isIndexType(target.mediaType)) {
    throw invalidArgument(`${target.digest} is neither a manifest nor an index, but ${target.mediaType}`);
  }
  let isTooDeep = false;
  const search = { platform, seen: new Set<string>(), depth: 0, onTooDeep: () => (isTooDeep = true) };
  const found = await findInIndex(content, target, search, options);
  if (found !== undefined) return found;
  const missed = `index ${target.digest} has no manifest for the platform`;
  throw isTooDeep ? resourceExhausted(`${missed} in ${MAX_NESTED_INDEXES} levels, and has more`) : notFound(missed);
}

/** An index inside an index is followed, but not for ever. */
const MAX_NESTED_INDEXES = 8;

interface Search {
  readonly platform: PlatformMatcher;
  /** What had nothing for it. */
  readonly seen: Set<string>;
  readonly depth: number;
  /** Told of an index that is not searched. */
  readonly onTooDeep: () => void;
}

async function findInIndex(
  content: ContentProvider,
  target: Descriptor,
  search: Search,
  options: CallOptions | undefined,
): Promise<ResolvedManifest | undefined> {
  const { platform, seen, depth, onTooDeep } = search;
  const { manifests } = await readIndex(content, target, options);
  const candidates = manifests
    .filter((entry) => entry.platform === undefined || platform.matches(entry.platform))
    .toSorted((a, b) => compareEntries(a, b, platform));
  for (const descriptor of candidates) {
    if (isManifestType(descriptor.mediaType) && descriptor.platform !== undefined)
      return { descriptor, manifest: await readManifest(content, descriptor, options) };
    const isIndex = isIndexType(descriptor.mediaType);
    // It may be come upon again where it is not.
    const isTooDeep = isIndex && depth === MAX_NESTED_INDEXES;
    if (isTooDeep) onTooDeep();
    if (isTooDeep || isSeen(descriptor, seen)) continue;
    if (isIndex) {
      const nested = await findInIndex(content, descriptor, { ...search, depth: depth + 1 }, options);
      if (nested !== undefined) return nested;
    } else if (isManifestType(descriptor.mediaType)) {
      const manifest = await readManifest(content, descriptor, options);
      if (platform.matches(await platformOf(content, manifest, options))) return { descriptor, manifest };
    }
  }
  return undefined;
}

function compareEntries(a: Descriptor, b: Descriptor, matcher: PlatformMatcher): number {
  if (a.platform === undefined || b.platform === undefined)
    return Number(a.platform === undefined) - Number(b.platform === undefined);
  return matcher.compare(a.platform, b.platform);
}

async function platformOf(
  content: ContentProvider,
  { config }: ImageManifest,
  options: CallOptions | undefined,
): Promise<Platform> {
  return normalizePlatform((await readImageConfig(content, config, options)).platform);
}

/** This reads the configuration of an image. @throws not_found, invalid_argument */
export async function readImageConfig(
  content: ContentProvider,
  descriptor: Descriptor,
  options?: CallOptions,
): Promise<ImageConfig> {
  return parseImageConfig(await readJson(content, descriptor, options), `image config ${descriptor.digest}`);
}

/** Everything that it takes to run an image. */
export interface ResolvedImage extends ResolvedManifest {
  readonly config: ImageConfig;
  readonly diffIds: readonly Digest[];
  readonly chainIds: readonly Digest[];
  /** Name of the committed snapshot that holds all layers; empty for an image without layers. */
  readonly chainId: string;
}

/**
 * This resolves an image to its manifest, configuration and layers for a platform.
 *
 * @throws as {@link resolveManifest}
 * @throws invalid_argument - the number of layers is not that of diff ids
 */
export async function resolveImage(
  content: ContentProvider,
  target: Descriptor,
  platform: PlatformMatcher,
  options?: CallOptions,
): Promise<ResolvedImage> {
  const { descriptor, manifest } = await resolveManifest(content, target, platform, options);
  const config = await readImageConfig(content, manifest.config, options);
  const { diffIds } = config;
  if (diffIds.length !== manifest.layers.length) {
    throw invalidArgument(`image ${target.digest} has ${manifest.layers.length} layers and ${diffIds.length} diff ids`);
  }
  const chain = chainIds(diffIds);
  return { descriptor, manifest, config, diffIds, chainIds: chain, chainId: chain.at(-1) ?? "" };
}

/**
 * This yields the platforms that an image is made for, each once: those that its index tells, else that of the
 * configuration. Manifests whose blobs are missing are passed over where the index tells their platform.
 *
 * @throws as {@link readIndex}; resource_exhausted - deeper than 32 levels
 */
export async function* imagePlatforms(
  content: ContentProvider,
  target: Descriptor,
  options?: CallOptions,
): AsyncGenerator<Platform, void, undefined> {
  const found = new Map<string, Platform>();
  const add = (platform: Platform): void => {
    const normal = normalizePlatform(platform);
    found.set(JSON.stringify(normal), normal);
  };
  const below: ChildrenHandler = async (descriptor) => {
    if (isManifestType(descriptor.mediaType)) {
      const { config } = await readManifest(content, descriptor, options);
      if (isConfigType(config.mediaType)) add((await readImageConfig(content, config, options)).platform);
    }
    if (!isIndexType(descriptor.mediaType)) return [];
    const { manifests } = await readIndex(content, descriptor, options);
    for (const { platform } of manifests) if (platform !== undefined) add(platform);
    return manifests.filter(({ platform }) => platform === undefined);
  };
  if (target.platform !== undefined) add(target.platform);
  // The walk is made for what its handler does.
  else for await (const _descriptor of walk(target, below)) options?.signal?.throwIfAborted();
  yield* found.values();
}
