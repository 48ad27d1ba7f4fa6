import type { CallOptions } from "@berth/core/any";
import { sourceLabels } from "@berth/core/distribution-source";
import type { KeyedLock } from "@berth/core/keyed-lock";
import type { RegistryImage, StoredImages, TransferOptions } from "@berth/core/transfer";
import { permissionDenied, wrapError } from "@berth/errors";
import { EarlyUnpack, fetchImage, unpack } from "@berth/images";
import type { Descriptor } from "@berth/oci";
import { isLayerType } from "@berth/oci";
import type { PartMemory } from "@berth/remotes/part-memory";

import { BlobTree, wholeBlob } from "./blob-step.ts";
import type { Followers } from "./followers.ts";
import { IncomingBlobs } from "./incoming-blobs.ts";
import { matchPlatforms } from "./match-platforms.ts";
import { namesOf, storeImages } from "./name-images.ts";
import type { LocalTransferOptions } from "./transfer-options.ts";
import { openRegistry } from "./transfer-options.ts";
import { unpackOptions } from "./unpack-options.ts";
import type { LeasedStores } from "./with-lease.ts";

/** What all pulls of a daemon share. */
export interface SharedByPulls {
  /** By digest: one download of a blob at a time, whatever the namespace. */
  readonly downloads: KeyedLock;
  readonly followers: Followers;
  /** For parts of layers that come before their turn. */
  readonly partMemory: PartMemory;
}

/** A pull under its lease. */
export interface PullRequest {
  readonly from: RegistryImage;
  readonly to: StoredImages;
  readonly leased: LeasedStores;
}

/**
 * This pulls an image: its layers flow from the registry into the content store, and from there, while they come, into the snapshots. What
 * is committed has been verified. After a failure only what the collector takes is left; what came of a blob is kept for another attempt.
 */
export async function pullImage(
  request: PullRequest,
  settings: LocalTransferOptions,
  shared: SharedByPulls,
  options: TransferOptions,
): Promise<void> {
  const { from, to, leased } = request;
  const { reference } = from;
  const { onProgress, signal } = options;
  const shown = `OCI Registry (${reference})`;
  await using registry = await openRegistry(from.access, settings, shared.partMemory);
  onProgress?.({ event: `Resolving from ${shown}`, name: "" });
  const { descriptor: target } = await registry.resolve(reference, signal === undefined ? {} : { signal });
  await verifyImage(reference, target, settings, { signal });
  onProgress?.({ event: `Pulling from ${shown}`, name: "" });
  onProgress?.({ event: "fetching image content", name: reference, descriptor: target });
  const fetch = (
    descriptor: Descriptor,
    { offset, signal: cancelled }: { readonly offset: number; readonly signal?: AbortSignal | undefined },
  ): AsyncIterable<Uint8Array> =>
    registry.fetch(reference, descriptor, { offset, ...(cancelled && { signal: cancelled }) });
  await fetchAndUnpack(target, { ...request, fetch }, settings, shared, options);
  await storeImages(leased.stores.images, namesOf(target, to), options);
  onProgress?.({ event: `Completed pull from ${shown}`, name: "" });
}

async function verifyImage(
  name: string,
  target: Descriptor,
  { verifiers = new Map() }: LocalTransferOptions,
  options: CallOptions,
): Promise<void> {
  for (const [id, verifier] of verifiers) {
    const { accepted, reason } = await verifier.verify(name, target, options).catch((error: unknown) => {
      throw wrapError(error, `image verifier ${id} of ${name}`);
    });
    if (accepted) continue;
    throw permissionDenied(`image verifier ${id} blocked pull of ${name} with digest ${target.digest}: ${reason}`);
  }
}

async function fetchAndUnpack(
  target: Descriptor,
  { from, to, leased, fetch }: PullRequest & { readonly fetch: Parameters<typeof fetchImage>[1]["fetch"] },
  settings: LocalTransferOptions,
  { downloads, followers }: SharedByPulls,
  options: TransferOptions,
): Promise<void> {
  const { content } = leased.stores;
  const { onProgress, signal } = options;
  const tree = new BlobTree(target, from.reference);
  const incoming = new IncomingBlobs(content);
  const unpacks = unpackOptions(leased, to, settings, {
    ...options,
    layers: incoming,
    reference: from.reference,
    verified: (digest, cancel) => incoming.stored(digest, cancel),
  });
  await using undo = new AsyncDisposableStack();
  const early: EarlyUnpack[] = [];
  using followed = followers.open((digest) => early.forEach((each) => each.stored(digest)));
  try {
    await fetchImage(target, {
      content,
      fetch,
      platform: matchPlatforms(to.platforms),
      everyPlatform: to.platforms.length !== 1,
      manifestLimit: to.manifestLimit,
      allMetadata: to.allMetadata,
      concurrency: settings.maxDownloads ?? 3,
      labels: sourceLabels(from.reference),
      signal,
      whileHeld: async (descriptor, download, cancel) => {
        using _lock = await downloads.acquire(`blob://${descriptor.digest}`, cancel);
        return await download();
      },
      onChildren: tree.add,
      onLayers: (layers) => {
        for (const layer of layers) onProgress?.({ ...tree.stepOf(layer), event: "waiting" });
        // What it takes to know the layers is stored by now.
        const plan = { entries: [target], documents: content };
        for (const unpacking of unpacks) early.push(undo.use(new EarlyUnpack(plan, unpacking)));
      },
      needsLayer: async (layer) => {
        if (unpacks.length === 0 || unpacks.some(({ remoteName }) => remoteName === undefined)) return true;
        for (const each of early) if (!(await each.isThere(layer.digest))) return true;
        onProgress?.({ ...tree.stepOf(layer), event: "already exists", ...wholeBlob(layer) });
        return false;
      },
      onWriter: (descriptor, { localPath }, offset) => {
        if (localPath === undefined || !isLayerType(descriptor.mediaType)) return;
        // What an earlier download left, or what comes from elsewhere than the registry, may be dropped at its end, and come again.
        if (offset > 0) return;
        if (descriptor.urls !== undefined && descriptor.urls.length > 0) return;
        incoming.begin(descriptor, localPath, offset);
        followed.begun(descriptor.digest);
      },
      onProgress: (descriptor, progress) => {
        incoming.reached(descriptor, progress);
        onProgress?.({ ...tree.stepOf(descriptor), event: "downloading", progress, total: descriptor.size });
      },
      onStored: (descriptor, state) => {
        incoming.complete(descriptor.digest);
        followed.ended(descriptor.digest);
        for (const each of early) each.stored(descriptor.digest);
        const event = state === "exists" ? "already exists" : "complete";
        onProgress?.({ ...tree.stepOf(descriptor), event, ...wholeBlob(descriptor) });
      },
    });
  } catch (error) {
    incoming.fail(error);
    throw error;
  }
  for (const each of early) await each.finish();
  // Finds done what was done meanwhile, and tells why the rest cannot be.
  for (const unpacking of unpacks) await unpack(target, unpacking);
}
