import type { ContentProvider } from "@berth/core/content";
import { type Applier, type ApplyOptions, LAYER_NEEDS_PARENT } from "@berth/core/diff";
import { type Logger, silentLogger } from "@berth/core/log";
import type { Mount } from "@berth/core/mount";
import { wrapError } from "@berth/errors";
import { type Descriptor, formatDigest, MediaType } from "@berth/oci";

import { LayerEngine, type LayerEngineOptions } from "./layer-engine.ts";
import { openLayerTarget } from "./layer-target.ts";
import { planProcessors } from "./processor-chain.ts";

export interface ApplierOptions {
  /** Where the blobs of layers are. */
  readonly content: ContentProvider;
  /** Threads and syncs shared with others; an engine of its own, of default settings or these, when left out. */
  readonly engine?: LayerEngine | LayerEngineOptions;
  /** Sync the file system after a layer, where the call does not say; default true. */
  readonly syncFs?: boolean;
  readonly log?: Logger;
}

/** Options of {@link OwnedApplier.apply}. */
export interface MountedApplyOptions extends ApplyOptions {
  /** What the mounts are made of is mounted for this call, and taken away after it. */
  readonly areTemporary?: boolean;
}

/** An applier, and the engine it may own. */
export interface OwnedApplier extends Applier, AsyncDisposable {
  apply(layer: Descriptor, mounts: readonly Mount[], options?: MountedApplyOptions): Promise<Descriptor>;
}

/**
 * This makes an applier of tar layers, plain or compressed by gzip or zstd, and of what the engine's processors turn into these. It may be used by many at once. Disposing it
 * disposes the engine that it made itself, never one that it was given.
 *
 * @see containerd core/diff/apply/apply.go
 */
export function createApplier({ content, engine, syncFs = true, log = silentLogger }: ApplierOptions): OwnedApplier {
  const own = engine instanceof LayerEngine ? undefined : new LayerEngine(engine);
  // One of the two is there.
  const shared = engine instanceof LayerEngine ? engine : (own as LayerEngine);

  const apply = async (
    layer: Descriptor,
    mounts: readonly Mount[],
    options: MountedApplyOptions,
  ): Promise<Descriptor> => {
    const { areTemporary = false, signal } = options;
    signal?.throwIfAborted();
    const chain = planProcessors(layer.mediaType, shared.processors, options.payloads);
    await using blob = await content.reader(layer.digest, { signal });
    const { temporaryDirectory } = shared;
    await using target = await openLayerTarget(mounts, { temporaryDirectory, signal, areTemporary });
    await using device = await shared.syncs.watch(target.place.root, target);
    // Where an unmount does not wait for the disk anyway, nothing else is to.
    const early = target.isTemporary && !target.isLastLook ? undefined : device;
    const started = performance.now();
    const applied = await shared.apply(blob, chain, target.place, { signal, device: early });
    for (const { message, path, xattr } of applied.warnings) log.warn(message, { digest: layer.digest, path, xattr });
    // An unmount would write it too, but tells nobody what it could not write.
    if ((options.syncFs ?? syncFs) || target.isLastLook) await device.sync();
    else device.check();
    const durationMs = Math.round(performance.now() - started);
    log.debug("diff applied", { digest: layer.digest, media: layer.mediaType, size: applied.size, durationMs });
    const digest = formatDigest("sha256", applied.sha256);
    const isWhole = applied.impliedDirectories === 0 || target.place.hasAllLayers;
    const annotations = isWhole ? {} : { annotations: { [LAYER_NEEDS_PARENT]: String(applied.impliedDirectories) } };
    return { mediaType: MediaType.ociLayer, digest, size: applied.size, ...annotations };
  };

  return {
    async apply(layer, mounts, options = {}) {
      try {
        return await apply(layer, mounts, options);
      } catch (error) {
        throw wrapError(error, `apply layer ${layer.digest}`);
      }
    },
    async [Symbol.asyncDispose]() {
      await own?.[Symbol.asyncDispose]();
    },
  };
}
