import type { CallOptions } from "@berth/core/any";
import type { ContentStore } from "@berth/core/content";
import { isNotFound } from "@berth/errors";
import type { Descriptor, PlatformMatcher } from "@berth/oci";

import { children } from "./image-children.ts";
import { resolveManifest } from "./resolve-manifest.ts";
import { filterPlatforms, walk } from "./walk.ts";

/** What of an image is in the content store. */
export interface ImageCheck {
  /** The manifest is there, and tells what else is needed. */
  readonly available: boolean;
  readonly required: readonly Descriptor[];
  readonly present: readonly Descriptor[];
  readonly missing: readonly Descriptor[];
}

/** This compares an image with the content store, for one platform. @throws invalid_argument - malformed */
export async function checkImage(
  content: ContentStore,
  target: Descriptor,
  platform: PlatformMatcher,
  options?: CallOptions,
): Promise<ImageCheck> {
  const required = await requiredBlobs(content, target, platform, options);
  if (required === undefined) return { available: false, required: [target], present: [], missing: [target] };
  const present: Descriptor[] = [];
  const missing: Descriptor[] = [];
  for (const descriptor of required) {
    ((await isStored(content, descriptor, options)) ? present : missing).push(descriptor);
  }
  return { available: true, required, present, missing };
}

async function requiredBlobs(
  content: ContentStore,
  target: Descriptor,
  platform: PlatformMatcher,
  options: CallOptions | undefined,
): Promise<readonly Descriptor[] | undefined> {
  try {
    const { manifest } = await resolveManifest(content, target, platform, options);
    return [manifest.config, ...manifest.layers];
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

async function isStored(content: ContentStore, { digest }: Descriptor, options?: CallOptions): Promise<boolean> {
  try {
    await content.info(digest, options);
    return true;
  } catch (error) {
    if (isNotFound(error)) return false;
    throw error;
  }
}

/**
 * This adds up the bytes of an image's blobs for a platform, as its descriptors tell them. What is not in the store
 * counts too; manifests that are missing end the walk there.
 */
export async function imageSize(
  content: ContentStore,
  target: Descriptor,
  platform: PlatformMatcher,
  options?: CallOptions,
): Promise<number> {
  const handler = filterPlatforms((descriptor) => childrenOrNone(content, descriptor, options), platform);
  const sizes = new Map<string, number>();
  for await (const { digest, size } of walk(target, handler)) sizes.set(digest, size);
  return sizes.values().reduce((sum, size) => sum + size, 0);
}

async function childrenOrNone(
  content: ContentStore,
  descriptor: Descriptor,
  options: CallOptions | undefined,
): Promise<readonly Descriptor[]> {
  try {
    return await children(content, descriptor, options);
  } catch (error) {
    if (isNotFound(error)) return [];
    throw error;
  }
}
