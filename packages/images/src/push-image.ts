import type { CallOptions } from "@berth/core/any";
import type { ContentStore } from "@berth/core/content";
import { DISTRIBUTION_SOURCE } from "@berth/core/distribution-source";
import { Turns } from "@berth/core/turns";
import { isNotFound } from "@berth/errors";
import type { Descriptor, Digest, PlatformMatcher } from "@berth/oci";
import { isIndexType, isManifestType } from "@berth/oci";

import { children } from "./image-children.ts";
import type { ChildrenHandler } from "./walk.ts";
import { filterPlatforms, isSeen, walk } from "./walk.ts";

/** Options of {@link pushImage}. */
export interface PushImageOptions extends CallOptions {
  readonly content: ContentStore;
  /** Absent: every platform, all of which must be there. */
  readonly platform?: PlatformMatcher;
  /** So many blobs are sent at once; 3. */
  readonly concurrency?: number;
  /** Uploads one blob or manifest; the last call is for the target itself. */
  readonly push: (descriptor: Descriptor, options: PushStepOptions) => Promise<void>;
}

/** Options of one upload. */
export interface PushStepOptions extends CallOptions {
  /** To be called when all is sent and only the answer is missing: another blob is sent meanwhile. */
  readonly onSent?: () => void;
}

const DEFAULT_CONCURRENCY = 3;
/** A registry stores what it was sent, which it may wait for its disk for, while it takes in more; but what it has not confirmed is not to pile up. */
const UNCONFIRMED_PER_SENT = 3;

/**
 * This uploads an image from a content store: blobs side by side, then manifests, then indexes, so that nothing in the registry ever refers to what is not there. Blobs carry, as annotations,
 * the labels that say where they come from.
 *
 * @throws not_found - a blob is not in the store; as `push`
 * @see containerd core/remotes/handlers.go, PushContent
 */
export async function pushImage(target: Descriptor, options: PushImageOptions): Promise<void> {
  const { content, platform } = options;
  const read = (descriptor: Descriptor): Promise<readonly Descriptor[]> => children(content, descriptor, options);
  const handler = platform === undefined ? read : filterPlatforms(read, platform);
  const below = new Map<Digest, readonly Descriptor[]>();
  const noting: ChildrenHandler = async (descriptor) => {
    const parts = await handler(descriptor);
    if (parts.length > 0) below.set(descriptor.digest, parts);
    return parts;
  };
  const found = await Array.fromAsync(walk(target, noting));
  const isDocument = ({ mediaType }: Descriptor): boolean => isIndexType(mediaType) || isManifestType(mediaType);
  await pushAll(
    found.filter((each) => !isDocument(each)),
    options,
  );
  for (const each of childrenFirst(target, below, new Set())) if (isDocument(each)) await options.push(each, options);
}

/** Each once, after all that it refers to: a manifest may be listed by an index and by another in that. */
function* childrenFirst(
  root: Descriptor,
  below: ReadonlyMap<Digest, readonly Descriptor[]>,
  seen: Set<string>,
): Generator<Descriptor, void, undefined> {
  if (isSeen(root, seen)) return;
  for (const child of below.get(root.digest) ?? []) yield* childrenFirst(child, below, seen);
  yield root;
}

async function pushAll(blobs: readonly Descriptor[], options: PushImageOptions): Promise<void> {
  const failed = new AbortController();
  const signal = options.signal === undefined ? failed.signal : AbortSignal.any([options.signal, failed.signal]);
  const concurrency = options.concurrency ?? DEFAULT_CONCURRENCY;
  const unconfirmed = new Turns(concurrency * UNCONFIRMED_PER_SENT);
  const sending = new Turns(concurrency);
  const uploads = blobs.map((blob) =>
    unconfirmed.run(async () => {
      using turn = await sending.acquire();
      try {
        signal.throwIfAborted();
        await options.push(await withSources(blob, options), { signal, onSent: () => turn[Symbol.dispose]() });
      } catch (error) {
        // Before the turn ends: the first failure ends the others, for its own reason.
        failed.abort(error);
        throw error;
      }
    }),
  );
  try {
    await Promise.all(uploads);
  } finally {
    // None may go on behind the caller's back.
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
