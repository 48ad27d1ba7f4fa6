import type { CallOptions } from "@berth/core/any";
import { noLabels } from "@berth/core/labels";
import type { Snapshotter } from "@berth/core/snapshots";
import { isNotFound } from "@berth/errors";
import type { Descriptor } from "@berth/oci";

import { KeyedLocks } from "./keyed-locks.ts";
import type { ResolvedImage } from "./resolve-manifest.ts";
import { resolveImage } from "./resolve-manifest.ts";
import type { LayerToUnpack, PreparedLayer } from "./unpack-layer.ts";
import { applyLayer, commitLayer, prepareLayer, removeLayer } from "./unpack-layer.ts";
import type { UnpackOptions } from "./unpack-options.ts";

/** One lock for each layer of each snapshotter: two images with a common base do not unpack it twice. */
const locks = new KeyedLocks();

/**
 * This unpacks the layers of an image into committed snapshots named by their chain ids, and labels them so that the image's
 * configuration keeps them. Layers that are there are not unpacked again: doing it twice is safe, also at the same time.
 *
 * After a failure the layers below it stay committed and no extraction snapshot is left.
 *
 * @throws failed_precondition - a layer has another diff id than the configuration says
 * @throws invalid_argument, not_found - see `resolveImage`; a layer's blob is malformed or missing
 * @see containerd core/unpack/unpacker.go
 */
export async function unpack(target: Descriptor, options: UnpackOptions): Promise<ResolvedImage> {
  const image = await resolveImage(options.content, target, options.platform, options);
  const layers = layersOf(image);
  if ((options.concurrency ?? 1) > 1) await unpackTogether(layers, options);
  else for (const layer of layers) await unpackOne(layer, options);
  await labelConfig(image, options);
  return image;
}

/** This says whether the snapshot of an image's layers is there. @throws as `resolveImage` */
export async function isUnpacked(
  target: Descriptor,
  options: CallOptions & Pick<UnpackOptions, "content" | "snapshotter" | "platform">,
): Promise<boolean> {
  const { chainId } = await resolveImage(options.content, target, options.platform, options);
  return chainId === "" || (await exists(options.snapshotter, chainId, options));
}

function layersOf(image: ResolvedImage): LayerToUnpack[] {
  return image.manifest.layers.map((descriptor, index) => ({
    descriptor,
    // resolveImage has checked that there are as many of each.
    diffId: image.diffIds[index] ?? descriptor.digest,
    chainId: image.chainIds[index] ?? "",
    parent: image.chainIds[index - 1] ?? "",
  }));
}

async function unpackOne(layer: LayerToUnpack, options: UnpackOptions): Promise<void> {
  using _lock = await locks.acquire(lockKey(layer, options), options.signal);
  const prepared = await prepareLayer(layer, layer.parent, options);
  if (prepared === undefined) return options.onLayer?.(layer.descriptor, "exists");
  await using undo = new AsyncDisposableStack();
  undo.defer(() => removeLayer(prepared, options));
  await applyLayer(prepared, options);
  await commitLayer(prepared, options);
  undo.move();
  options.onLayer?.(layer.descriptor, "unpacked");
}

/** Layers are applied side by side without a parent, and committed in order, each onto the one before. */
async function unpackTogether(layers: readonly LayerToUnpack[], options: UnpackOptions): Promise<void> {
  await using cleanup = new AsyncDisposableStack();
  const pending = new Map<PreparedLayer, Promise<void>>();
  const failed = new AbortController();
  const signal = options.signal === undefined ? failed.signal : AbortSignal.any([options.signal, failed.signal]);
  const slots = new Slots(options.concurrency ?? 1);
  cleanup.defer(async () => {
    failed.abort();
    await Promise.allSettled(pending.values());
    for (const prepared of pending.keys()) await removeLayer(prepared, options);
  });
  for (const layer of layers) {
    cleanup.use(await locks.acquire(lockKey(layer, options), signal));
    const prepared = await prepareLayer(layer, "", options);
    if (prepared === undefined) {
      options.onLayer?.(layer.descriptor, "exists");
      continue;
    }
    const applied = slots.run(() => applyLayer(prepared, { ...options, signal }));
    // Each is awaited below, in order; one that fails early must not count as unhandled until then.
    applied.catch(() => {});
    pending.set(prepared, applied);
  }
  for (const [prepared, applied] of pending) {
    await applied;
    await commitLayer(prepared, options, prepared.layer.parent);
    pending.delete(prepared);
    options.onLayer?.(prepared.layer.descriptor, "unpacked");
  }
}

/** Lets so many tasks run at once. */
class Slots {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(count: number) {
    this.#free = count;
  }

  async run(task: () => Promise<void>): Promise<void> {
    if (this.#free === 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#free -= 1;
    try {
      await task();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free += 1;
      else next();
    }
  }
}

async function labelConfig(image: ResolvedImage, { content, snapshotterName, signal }: UnpackOptions): Promise<void> {
  const key = `containerd.io/gc.ref.snapshot.${snapshotterName}`;
  const { digest } = image.manifest.config;
  const labels = image.chainId === "" ? noLabels : new Map([[key, image.chainId]]);
  await content.update({ digest, labels }, { fieldpaths: [`labels.${key}`], signal });
}

async function exists(snapshotter: Snapshotter, key: string, options?: CallOptions): Promise<boolean> {
  try {
    await snapshotter.stat(key, options);
    return true;
  } catch (error) {
    if (isNotFound(error)) return false;
    throw error;
  }
}

function lockKey({ chainId }: LayerToUnpack, { snapshotterName }: UnpackOptions): string {
  return `sn://${snapshotterName}/${chainId}`;
}
