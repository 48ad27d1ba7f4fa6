import { Turns } from "@berth/core/turns";
import type { Descriptor, Digest, ImageManifest } from "@berth/oci";

import type { ArchivePlan } from "./archive-plan.ts";
import { isUnpackable } from "./has-file-system.ts";
import type { ResolvedImage } from "./resolve-manifest.ts";
import { resolveImage } from "./resolve-manifest.ts";
import { unpackLayers } from "./unpack.ts";
import type { UnpackOptions } from "./unpack-options.ts";

/** An index may list a hundred thousand images. Those behind the first ones wait for `unpack`. */
const MAX_IMAGES = 64;
/** Each image holds its documents, and may hold a layer that is half unpacked, until its blobs have come. */
const IMAGES_AT_ONCE = 8;

/** Options of {@link EarlyUnpack}. */
export interface EarlyUnpackOptions extends UnpackOptions {
  /** Whether an image is to be unpacked; absent: if it is one, and no artifact. */
  readonly takes?: (manifest: ImageManifest) => boolean;
}

/**
 * Unpacks the images of an archive while it is being read: each layer when its blob is stored. It only comes before `unpack`, which is
 * to be called all the same when the archive is complete: that finds done what was done here, does what was not, and tells why it
 * cannot be done. Of very many images only the first ones are looked at, and few at once. Disposing stops it and waits; a layer that is
 * not complete then leaves nothing.
 */
export class EarlyUnpack implements AsyncDisposable {
  readonly #stop = new AbortController();
  readonly #stored = new Set<Digest>();
  readonly #waiting = new Map<Digest, PromiseWithResolvers<void>>();
  readonly #done: Promise<unknown>;
  /** Layers that need not be fetched, once that is known; absent where it cannot be. */
  readonly #there: PromiseWithResolvers<ReadonlySet<Digest>> | undefined;
  #complete = false;

  constructor({ entries, documents }: ArchivePlan, options: EarlyUnpackOptions) {
    // Of several layers that are prepared together, nobody knows which were there before.
    const isWatched = entries.length === 1 && (options.concurrency ?? 1) === 1;
    this.#there = isWatched ? Promise.withResolvers() : undefined;
    const signal = AbortSignal.any([this.#stop.signal, ...(options.signal === undefined ? [] : [options.signal])]);
    const early: UnpackOptions = { ...options, signal, layerReady: ({ digest }) => this.#ready(digest, signal) };
    const { takes = isUnpackable } = options;
    const turns = new Turns(IMAGES_AT_ONCE);
    const one = async (entry: Descriptor): Promise<void> => {
      signal.throwIfAborted();
      const image = await resolveImage(documents, entry, options.platform, { signal });
      if (takes(image.manifest)) await unpackLayers(image, this.#watched(image, early));
    };
    this.#done = Promise.allSettled(entries.slice(0, MAX_IMAGES).map((entry) => turns.run(() => one(entry)))).finally(
      () => this.#there?.resolve(new Set()),
    );
  }

  /**
   * This says whether a layer is there with all below it, as in a snapshotter that has brought them in by itself, so that it need not be
   * fetched. It resolves when the lowest layer that is not there has been found. Only for one image, unpacked layer by layer: else it is `false`.
   */
  async isThere(digest: Digest): Promise<boolean> {
    return (await this.#there?.promise)?.has(digest) ?? false;
  }

  #watched({ manifest: { layers } }: ResolvedImage, options: UnpackOptions): UnpackOptions {
    let count = 0;
    const tell = (): void => {
      const above = new Set(layers.slice(count).map(({ digest }) => digest));
      const below = layers.slice(0, count).map(({ digest }) => digest);
      this.#there?.resolve(new Set(below.filter((digest) => !above.has(digest))));
    };
    return {
      ...options,
      onLayer: (layer, state) => {
        options.onLayer?.(layer, state);
        count += 1;
        if (count === layers.length) tell();
      },
      layerReady: async (layer) => {
        tell();
        await options.layerReady?.(layer);
      },
    };
  }

  /** Says that a blob can be read now. */
  stored(digest: Digest): void {
    this.#stored.add(digest);
    this.#waiting.get(digest)?.resolve();
  }

  /** Says that all blobs that ever will be are there, and waits for the layers among them. Never rejects. */
  async finish(): Promise<void> {
    this.#complete = true;
    for (const waiting of this.#waiting.values()) waiting.resolve();
    await this.#done;
  }

  async #ready(digest: Digest, signal: AbortSignal): Promise<void> {
    if (this.#complete || this.#stored.has(digest)) return;
    const waiting = this.#waiting.get(digest) ?? Promise.withResolvers<void>();
    this.#waiting.set(digest, waiting);
    const abort = (): void => waiting.reject(signal.reason);
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true });
    try {
      await waiting.promise;
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#done;
  }
}
