import type { ContentProvider } from "@berth/core/content";
import type { Applier } from "@berth/core/diff";
import type { StoredImages, TransferOptions, UnpackTarget } from "@berth/core/transfer";
import { failedPrecondition, invalidArgument, isNotFound, unimplemented } from "@berth/errors";
import type { EarlyUnpackOptions } from "@berth/images";
import { ingestRef, isUnpackable, resolveManifest } from "@berth/images";
import type { Descriptor, Digest, ImageManifest } from "@berth/oci";
import { formatPlatform, hostPlatform, only } from "@berth/oci";

import { wholeBlob } from "./blob-step.ts";
import type { LocalTransferOptions, UnpackChoice } from "./transfer-options.ts";
import type { LeasedStores } from "./with-lease.ts";

const DEFAULT_SNAPSHOTTER = "overlayfs";
const DEFAULT_DIFFER = "walking";

/** Where layers are read from, and what is waited for before one counts as unpacked. */
export interface LayerSource {
  readonly layers?: ContentProvider;
  /** Resolves when the blob is known to be right. */
  readonly verified?: (digest: Digest, options: { readonly signal?: AbortSignal | undefined }) => Promise<void>;
  /** Where the image comes from, for snapshotters that fetch what they need by themselves. */
  readonly reference?: string;
}

/** How a transfer unpacks to one of its targets. */
export interface TransferUnpack extends EarlyUnpackOptions {
  /** Whether a manifest that is for the platform is one of those to be unpacked, rather than only fetched. */
  readonly takes: (manifest: ImageManifest) => boolean;
}

/**
 * This returns the manifest of what is to be unpacked of `target`; `undefined` where that is nothing: a client may have another platform unpacked than
 * there is, or what is no image.
 *
 * @throws as `resolveManifest`, but for not_found
 */
export async function manifestToUnpack(
  target: Descriptor,
  { content, platform, takes, signal }: TransferUnpack,
): Promise<ImageManifest | undefined> {
  try {
    const { manifest } = await resolveManifest(content, target, platform, { signal });
    return takes(manifest) ? manifest : undefined;
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

/**
 * This returns how a transfer unpacks, once for each of its targets.
 *
 * @throws invalid_argument - no such snapshotter; unimplemented, failed_precondition - no differ for it
 */
export function unpackOptions(
  { stores, lease }: LeasedStores,
  { unpacks }: StoredImages,
  settings: LocalTransferOptions,
  { signal, onProgress, layers, verified, reference }: TransferOptions & LayerSource,
): readonly TransferUnpack[] {
  return unpacks.map((wanted) => {
    const { platform, snapshotter, differ, configType = "" } = choose(wanted, settings);
    const isRemote = reference !== undefined && settings.isRemote?.(snapshotter) === true;
    const provider = settings.differs.get(differ);
    if (provider === undefined) throw failedPrecondition(`differ ${JSON.stringify(differ)} is not loaded`);
    if (!stores.snapshotters.includes(snapshotter))
      throw invalidArgument(`snapshotter ${JSON.stringify(snapshotter)} is not loaded`);
    // A layer is come upon again when all are there.
    const told = new Set<Digest>();
    const inner = provider(stores.namespace, { lease, ...(layers && { layers }) });
    const applier: Applier = {
      async apply(layer, mounts, options = {}) {
        onProgress?.({ event: "extracting", name: ingestRef(layer), total: layer.size, descriptor: layer });
        const applied = await inner.apply(layer, mounts, { syncFs: false, ...options });
        // What was applied came from bytes that nobody has verified yet.
        await verified?.(layer.digest, { signal: options.signal });
        return applied;
      },
    };
    return {
      content: stores.content,
      snapshotter: stores.snapshotter(snapshotter),
      snapshotterName: snapshotter,
      applier,
      platform: only(platform),
      takes: (manifest) => (configType === "" ? isUnpackable(manifest) : manifest.config.mediaType === configType),
      concurrency: isRemote ? 1 : (settings.unpackConcurrency?.(snapshotter) ?? 1),
      ...(isRemote && { remoteName: reference }),
      onLayer: (layer) => {
        if (told.has(layer.digest)) return;
        told.add(layer.digest);
        onProgress?.({ event: "extracted", name: ingestRef(layer), ...wholeBlob(layer), descriptor: layer });
      },
      signal,
    };
  });
}

function choose(
  { platform = hostPlatform(), snapshotter }: UnpackTarget,
  settings: LocalTransferOptions,
): UnpackChoice {
  const { unpacks = [], onlyKnownUnpacks = false } = settings;
  const known = unpacks.find(
    (each) => (snapshotter === "" || each.snapshotter === snapshotter) && only(each.platform).matches(platform),
  );
  if (known !== undefined) return { ...known, platform };
  if (onlyKnownUnpacks) throw unimplemented(`unpacking ${formatPlatform(platform)} is not configured`);
  return { platform, snapshotter: snapshotter === "" ? DEFAULT_SNAPSHOTTER : snapshotter, differ: DEFAULT_DIFFER };
}
