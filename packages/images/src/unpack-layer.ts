import { randomBytes } from "node:crypto";

import { LAYER_NEEDS_PARENT, UNCOMPRESSED_LABEL } from "@berth/core/diff";
import type { Labels } from "@berth/core/labels";
import type { Mount } from "@berth/core/mount";
import { SnapshotLabel } from "@berth/core/snapshots";
import { failedPrecondition, isAlreadyExists, isNotFound, wrapError } from "@berth/errors";
import type { Descriptor, Digest } from "@berth/oci";

import type { UnpackOptions } from "./unpack-options.ts";

/** A layer and where it belongs. */
export interface LayerToUnpack {
  readonly descriptor: Descriptor;
  readonly diffId: Digest;
  /** Name of the snapshot to make. */
  readonly chainId: string;
  /** Chain id of the layer below, empty for the base. */
  readonly parent: string;
  /** More for the labels of its snapshot. */
  readonly labels: Labels;
}

/** A layer whose extraction snapshot is there. */
export interface PreparedLayer {
  readonly layer: LayerToUnpack;
  readonly key: string;
  readonly mounts: readonly Mount[];
  readonly labels: Labels;
  /** The snapshotter had the layer's content already: it is committed without being applied. */
  readonly staged: boolean;
  /** It has no parent yet, and gets it when it is committed. */
  readonly rebased: boolean;
  /** It could only be extracted wrongly before it has its parent. */
  readonly needsParent: boolean;
}

const PREPARE_ATTEMPTS = 3;

/**
 * This makes the snapshot that a layer is extracted into, on `parent`; `undefined` when the layer is there already, be it
 * that a remote snapshotter brought it in just now.
 */
export async function prepareLayer(
  layer: LayerToUnpack,
  parent: string,
  options: UnpackOptions,
): Promise<PreparedLayer | undefined> {
  const { snapshotter, signal } = options;
  const known = await isCommitted(layer, options);
  const labels = snapshotLabels(layer);
  for (let attempt = 1; ; attempt++) {
    const key = extractionKey(layer.chainId);
    try {
      // Asked for also when it is there: being refused is what puts it into the caller's lease, out of reach of the collector.
      const mounts = await snapshotter.prepare(key, parent, { labels, signal });
      if (known && (await isCommitted(layer, options))) {
        // A snapshotter without leases refuses nothing.
        await snapshotter.remove(key).catch(() => {});
        return undefined;
      }
      const rebased = layer.parent !== parent;
      const staged = isReadonly(mounts);
      const upper = rebased && !staged ? asUpperDirectory(mounts) : mounts;
      return { layer, key, mounts: upper ?? mounts, labels, staged, rebased, needsParent: upper === undefined };
    } catch (error) {
      if (!isAlreadyExists(error)) throw wrapError(error, `prepare extraction snapshot ${JSON.stringify(key)}`);
      if (await isCommitted(layer, options)) return undefined;
      if (attempt === PREPARE_ATTEMPTS) throw wrapError(error, `prepare extraction snapshot ${JSON.stringify(key)}`);
    }
  }
}

/**
 * This extracts the layer and checks what came out. The result says whether it has to be extracted again, over its parent, to be
 * right.
 *
 * @throws failed_precondition - another diff id
 */
export async function applyLayer(
  prepared: PreparedLayer,
  options: UnpackOptions,
): Promise<{ readonly needsParent: boolean }> {
  if (prepared.staged || prepared.needsParent) return prepared;
  const { descriptor, diffId } = prepared.layer;
  const { applier, signal, syncFs } = options;
  const applied = await applier
    .apply(descriptor, prepared.mounts, { signal, ...(syncFs === undefined ? {} : { syncFs }) })
    .catch((error: unknown) => {
      throw wrapError(error, `extract layer ${descriptor.digest}`);
    });
  if (applied.digest === diffId) return { needsParent: applied.annotations?.[LAYER_NEEDS_PARENT] !== undefined };
  throw failedPrecondition(`layer ${descriptor.digest}: wrong diff id ${applied.digest}, expected ${diffId}`);
}

/** This commits an applied layer, onto its parent if it was prepared without, and labels its blob with the diff id. */
export async function commitLayer(prepared: PreparedLayer, options: UnpackOptions): Promise<void> {
  const { content, snapshotter, signal } = options;
  const { layer, key, labels, staged, rebased } = prepared;
  signal?.throwIfAborted();
  try {
    await snapshotter.commit(layer.chainId, key, { labels, signal, ...(rebased ? { parent: layer.parent } : {}) });
  } catch (error) {
    if (!isAlreadyExists(error)) throw wrapError(error, `commit snapshot ${JSON.stringify(key)}`);
    // Another process was faster. What it committed has the same content; ours is not needed.
    await removeLayer(prepared, options);
  }
  if (staged) return;
  const { digest } = layer.descriptor;
  const fieldpaths = [`labels.${UNCOMPRESSED_LABEL}`];
  await content.update({ digest, labels: new Map([[UNCOMPRESSED_LABEL, layer.diffId]]) }, { fieldpaths, signal });
}

/** This removes an extraction snapshot, also after the caller's signal was aborted. */
export async function removeLayer({ key }: PreparedLayer, { snapshotter }: UnpackOptions): Promise<void> {
  // The error that led here tells more; what is left is collected when the lease ends.
  await snapshotter.remove(key).catch(() => {});
}

async function isCommitted({ chainId }: LayerToUnpack, { snapshotter, signal }: UnpackOptions): Promise<boolean> {
  try {
    await snapshotter.stat(chainId, { signal });
    return true;
  } catch (error) {
    if (isNotFound(error)) return false;
    throw wrapError(error, `stat snapshot ${chainId}`);
  }
}

function snapshotLabels({ descriptor, diffId, chainId, parent, labels }: LayerToUnpack): Labels {
  const inherited = Object.entries(descriptor.annotations ?? {}).filter(
    ([key]) => key === SnapshotLabel.ref || key.startsWith("containerd.io/snapshot/"),
  );
  return new Map([
    ...inherited,
    ...labels,
    [SnapshotLabel.ref, chainId],
    [SnapshotLabel.diffId, diffId],
    ...(parent === "" ? [] : ([[SnapshotLabel.parentChainId, parent]] as const)),
  ]);
}

function extractionKey(chainId: string): string {
  const nanoseconds = process.hrtime.bigint() % 1_000_000_000n;
  return `extract-${nanoseconds}-${randomBytes(3).toString("base64url")} ${chainId}`;
}

function isReadonly(mounts: readonly Mount[]): boolean {
  return mounts.length > 0 && mounts.every(({ options }) => options.includes("ro"));
}

/**
 * A layer that will get its parent later comes as a bind mount of what will be an upper directory, in which a whiteout would be an
 * ordinary deletion. Of mounts that are otherwise, nothing is known.
 */
function asUpperDirectory(mounts: readonly Mount[]): readonly Mount[] | undefined {
  const [mount] = mounts;
  if (mounts.length !== 1 || mount?.type !== "bind") return undefined;
  return [{ type: "overlay", source: "overlay", target: mount.target, options: [`upperdir=${mount.source}`] }];
}
