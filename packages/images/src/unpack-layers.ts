import { KeyedLock } from "@berth/core/keyed-lock";
import { Turns } from "@berth/core/turns";

import type { LayerToUnpack, PreparedLayer } from "./unpack-layer.ts";
import { applyLayer, commitLayer, prepareLayer, removeLayer } from "./unpack-layer.ts";
import type { UnpackOptions } from "./unpack-options.ts";

/** One lock for each layer of each snapshotter: two images with a common base do not unpack it twice. */
const locks = new KeyedLock();

/** Each has a snapshot, a lock and a promise, and a manifest may list a hundred thousand. No image that can be mounted has more than these. */
const MAX_PREPARED = 128;

function lockKey({ chainId }: LayerToUnpack, { snapshotterName }: UnpackOptions): string {
  return `sn://${snapshotterName}/${chainId}`;
}

/** This unpacks one layer onto its parent, which is there. */
export async function unpackOne(layer: LayerToUnpack, options: UnpackOptions): Promise<void> {
  using _lock = await locks.acquire(lockKey(layer, options), options);
  await extract(layer, options);
}

async function extract(layer: LayerToUnpack, options: UnpackOptions): Promise<void> {
  const prepared = await prepareLayer(layer, layer.parent, options);
  if (prepared === undefined) return options.onLayer?.(layer.descriptor, "exists");
  await using undo = new AsyncDisposableStack();
  undo.defer(() => removeLayer(prepared, options));
  await options.layerReady?.(layer.descriptor);
  await applyLayer(prepared, options);
  await commitLayer(prepared, options);
  undo.move();
  options.onLayer?.(layer.descriptor, "unpacked");
}

/**
 * This unpacks layers side by side without a parent, and commits them in order, each onto the one before. The first that is not there
 * gets its parent at once; one that cannot do without its parent's directories is unpacked again when that is there. Of very many layers
 * only so many are there without being committed.
 */
export async function unpackTogether(layers: readonly LayerToUnpack[], options: UnpackOptions): Promise<void> {
  for (let at = 0; at < layers.length; at += MAX_PREPARED) {
    await unpackBatch(layers.slice(at, at + MAX_PREPARED), options);
  }
}

async function unpackBatch(layers: readonly LayerToUnpack[], options: UnpackOptions): Promise<void> {
  await using cleanup = new AsyncDisposableStack();
  const pending = new Map<PreparedLayer, ReturnType<typeof applyLayer>>();
  const failed = new AbortController();
  const signal = options.signal === undefined ? failed.signal : AbortSignal.any([options.signal, failed.signal]);
  const turns = new Turns(options.concurrency ?? 1);
  cleanup.defer(async () => {
    failed.abort();
    await Promise.allSettled(pending.values());
    for (const prepared of pending.keys()) await removeLayer(prepared, options);
  });
  for (const layer of layers) {
    cleanup.use(await locks.acquire(lockKey(layer, options), { signal }));
    const prepared = await prepareLayer(layer, pending.size === 0 ? layer.parent : "", options);
    if (prepared === undefined) {
      options.onLayer?.(layer.descriptor, "exists");
      continue;
    }
    const ready = options.layerReady?.(layer.descriptor) ?? Promise.resolve();
    const applied = ready
      .then(() => turns.run(() => applyLayer(prepared, { ...options, signal })))
      .then((outcome) => settled(prepared, outcome, { ...options, signal }));
    // Each is awaited below, in order; one that fails early must not count as unhandled until then.
    applied.catch(() => {});
    pending.set(prepared, applied);
  }
  for (const [prepared, applied] of pending) {
    const { needsParent } = await applied;
    await (needsParent ? again(prepared, options) : commit(prepared, options));
    pending.delete(prepared);
  }
}

/** Layers wait for the disk together, before they are committed one by one. */
async function settled<T extends { readonly needsParent: boolean }>(
  { key, staged }: PreparedLayer,
  outcome: T,
  { snapshotter, signal }: UnpackOptions,
): Promise<T> {
  if (!outcome.needsParent && !staged) await snapshotter.settle?.(key, { signal });
  return outcome;
}

async function commit(prepared: PreparedLayer, options: UnpackOptions): Promise<void> {
  await commitLayer(prepared, options);
  options.onLayer?.(prepared.layer.descriptor, "unpacked");
}

async function again(prepared: PreparedLayer, options: UnpackOptions): Promise<void> {
  await removeLayer(prepared, options);
  await extract(prepared.layer, options);
}
