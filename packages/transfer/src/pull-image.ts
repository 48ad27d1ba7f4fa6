import type { CallOptions } from "@berth/core/any";
import { sourceLabels } from "@berth/core/distribution-source";
import type { KeyedLock } from "@berth/core/keyed-lock";
import type { RegistryImage, StoredImages, TransferOptions } from "@berth/core/transfer";
import { permissionDenied, wrapError } from "@berth/errors";
import type { FetchImageOptions } from "@berth/images";
import { fetchImage } from "@berth/images";
import type { Descriptor } from "@berth/oci";
import type { PartMemory } from "@berth/remotes/part-memory";

import type { Followers } from "./followers.ts";
import { IncomingBlobs } from "./incoming-blobs.ts";
import { matchPlatforms } from "./match-platforms.ts";
import { namesOf, storeImages } from "./name-images.ts";
import { PulledImage } from "./pulled-image.ts";
import type { LocalTransferOptions } from "./transfer-options.ts";
import { openRegistry } from "./transfer-options.ts";
import type { LayerSource } from "./unpack-options.ts";
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
  const fetch: FetchImageOptions["fetch"] = (descriptor, { offset, signal: cancelled }) =>
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
  { from, to, leased, fetch }: PullRequest & { readonly fetch: FetchImageOptions["fetch"] },
  settings: LocalTransferOptions,
  { downloads, followers }: SharedByPulls,
  options: TransferOptions,
): Promise<void> {
  const { content } = leased.stores;
  const { signal } = options;
  await using pulled = watchPull(target, { from, to, leased }, settings, { ...options, followers });
  const { onChildren, onLayers, needsLayer, onWriter, onProgress, onStored } = pulled;
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
      onChildren,
      onLayers,
      needsLayer,
      onWriter,
      onProgress,
      onStored,
    });
  } catch (error) {
    pulled.fail(error);
    throw error;
  }
  await pulled.finish({ signal });
}

function watchPull(
  target: Descriptor,
  { from: { reference }, to, leased }: PullRequest,
  settings: LocalTransferOptions,
  { followers, ...options }: TransferOptions & Pick<SharedByPulls, "followers">,
): PulledImage {
  const { content } = leased.stores;
  const incoming = new IncomingBlobs(content);
  const verified: LayerSource["verified"] = (digest, cancel) => incoming.stored(digest, cancel);
  return new PulledImage(target, {
    reference,
    content,
    incoming,
    unpacks: unpackOptions(leased, to, settings, { ...options, layers: incoming, reference, verified }),
    discardLayers: settings.discardLayers ?? false,
    followers,
    ...(options.onProgress && { onProgress: options.onProgress }),
  });
}
