import type { CallOptions } from "@berth/core/any";
import type { ContentStore } from "@berth/core/content";
import { Turns } from "@berth/core/turns";
import { isNotFound } from "@berth/errors";
import type { Descriptor, PlatformMatcher } from "@berth/oci";
import { isIndexType, isManifestType } from "@berth/oci";

import { children } from "./image-children.ts";
import { filterPlatforms, walk } from "./walk.ts";

/** Options of {@link pushImage}. */
export interface PushImageOptions extends CallOptions {
  readonly content: ContentStore;
  /** Absent: every platform that is there. */
  readonly platform?: PlatformMatcher;
  /** So many blobs are uploaded at once; 3. */
  readonly concurrency?: number;
  /** Uploads one blob or manifest; the last call is for the target itself. */
  readonly push: (descriptor: Descriptor, options: CallOptions) => Promise<void>;
}

const DEFAULT_CONCURRENCY = 3;
const DISTRIBUTION_SOURCE = "containerd.io/distribution.source.";

/**
 * This uploads an image from a content store: blobs side by side, then manifests, then indexes, so that nothing in the registry ever refers to what is not there. Blobs carry, as annotations,
 * the labels that say where they come from.
 *
 * @throws not_found - a blob is not in the store; as `push`
 * @see containerd core/remotes/handlers.go, PushContent
 */
export async function pushImage(target: Descriptor, options: PushImageOptions): Promise<void> {
  const { content, platform } = options;
  const handler = (descriptor: Descriptor): Promise<readonly Descriptor[]> => children(content, descriptor, options);
  const found = await Array.fromAsync(
    walk(target, platform === undefined ? handler : filterPlatforms(handler, platform)),
  );
  const isDocument = ({ mediaType }: Descriptor): boolean => isIndexType(mediaType) || isManifestType(mediaType);
  await pushAll(
    found.filter((each) => !isDocument(each)),
    options,
  );
  // Parents come first in a walk: children are to be there before them.
  for (const document of found.filter(isDocument).toReversed()) await options.push(document, options);
}

async function pushAll(blobs: readonly Descriptor[], options: PushImageOptions): Promise<void> {
  const failed = new AbortController();
  const signal = options.signal === undefined ? failed.signal : AbortSignal.any([options.signal, failed.signal]);
  const turns = new Turns(options.concurrency ?? DEFAULT_CONCURRENCY);
  const uploads = blobs.map((blob) =>
    turns.run(async () => {
      signal.throwIfAborted();
      await options.push(await withSources(blob, options), { signal });
    }),
  );
  try {
    await Promise.all(uploads);
  } finally {
    // The first failure ends the others; none may go on behind the caller's back.
    failed.abort();
    await Promise.allSettled(uploads);
  }
}

async function withSources(descriptor: Descriptor, { content, signal }: PushImageOptions): Promise<Descriptor> {
  try {
    const { labels } = await content.info(descriptor.digest, { signal });
    const sources = [...labels].filter(([key]) => key.startsWith(DISTRIBUTION_SOURCE));
    return { ...descriptor, annotations: { ...descriptor.annotations, ...Object.fromEntries(sources) } };
  } catch (error) {
    // The registry may have it, although it is not here.
    if (isNotFound(error)) return descriptor;
    throw error;
  }
}
