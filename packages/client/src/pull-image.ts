import { sourceLabels } from "@berth/core/distribution-source";
import type { Image } from "@berth/core/images";
import type { Labels } from "@berth/core/labels";
import { noLabels } from "@berth/core/labels";
import type { FetchImageOptions, UnpackOptions } from "@berth/images";
import { discardLayers, EarlyUnpack, fetchImage, findUnpacked, unpack } from "@berth/images";
import type { PlatformMatcher } from "@berth/oci";
import { hostPlatform, only } from "@berth/oci";
import type { RegistryClient } from "@berth/remotes";

import type { Client } from "./client.ts";
import { optionsOfUnpack } from "./import-image.ts";
import { storeImage } from "./store-image.ts";
import { bringsLayers } from "./unpack-concurrency.ts";

/** Options of {@link pullImage}. */
export interface PullImageOptions extends Pick<
  FetchImageOptions,
  "everyPlatform" | "concurrency" | "needsLayer" | "onProgress" | "onStored" | "signal"
> {
  readonly platform?: PlatformMatcher;
  /** Of the image. */
  readonly labels?: Labels;
  /** Unpack, with the snapshotter named, what has come while the rest is still coming. */
  readonly unpack?: Pick<UnpackOptions, "concurrency" | "onLayer" | "syncFs"> & {
    readonly snapshotter: string;
    /** Leave the layers to the collector then, and fetch none where all are unpacked: the image runs, and cannot be pushed or exported. */
    readonly discardLayers?: boolean;
  };
  /** Told once the reference is resolved. */
  readonly onResolved?: (target: Image["target"]) => void;
}

/**
 * This pulls an image from a registry into the daemon, under a lease: it is resolved and downloaded here, and its blobs are sent to the daemon, which unpacks each layer as it has come.
 *
 * @throws as `RegistryClient`, `fetchImage` and `unpack`; nothing but content that the collector takes is then left
 */
export async function pullImage(
  client: Client,
  registry: RegistryClient,
  name: string,
  options: PullImageOptions = {},
): Promise<Image> {
  const { signal, platform = only(hostPlatform()) } = options;
  return await client.withLease(async (leased) => {
    const { descriptor: target } = await registry.resolve(name, signal === undefined ? {} : { signal });
    options.onResolved?.(target);
    const unpackOptions = await unpackOptionsOf(leased, name, options);
    await using undo = new AsyncDisposableStack();
    let early: EarlyUnpack | undefined;
    let isUnpacked = false;
    await fetchImage(target, {
      ...options,
      content: leased.content,
      platform,
      labels: sourceLabels(name),
      fetch: (descriptor, { offset, signal: cancelled }) =>
        registry.fetch(name, descriptor, { offset, ...(cancelled && { signal: cancelled }) }),
      onLayers: async () => {
        // What it takes to know the layers is stored by now.
        isUnpacked = await needsNone(target, unpackOptions, options);
        const plan = { entries: [target], documents: leased.content };
        early = unpackOptions && undo.use(new EarlyUnpack(plan, unpackOptions));
      },
      needsLayer: async (layer) => {
        if ((await options.needsLayer?.(layer)) === false) return false;
        const isRemote = unpackOptions?.remoteName !== undefined;
        if (!isUnpacked && !(isRemote && (await early?.isThere(layer.digest)))) return true;
        options.onStored?.(layer, "exists");
        return false;
      },
      onStored: (descriptor, state) => {
        early?.stored(descriptor.digest);
        options.onStored?.(descriptor, state);
      },
    });
    const image = await storeImage(leased.images, { name, target, labels: options.labels ?? noLabels }, { signal });
    await early?.finish();
    // Finds done what was done meanwhile, and tells why the rest cannot be.
    if (unpackOptions === undefined) return image;
    const { descriptor } = await unpack(target, unpackOptions);
    if (options.unpack?.discardLayers === true) await discardLayers(leased.content, { descriptor }, { signal });
    return image;
  }, options);
}

/** What was discarded is not fetched again for an image that is unpacked. */
async function needsNone(
  target: Image["target"],
  unpacking: UnpackOptions | undefined,
  options: PullImageOptions,
): Promise<boolean> {
  if (unpacking === undefined || options.unpack?.discardLayers !== true || options.everyPlatform === true) return false;
  return (await findUnpacked(target, unpacking)) !== undefined;
}

/** One layer after the other for a snapshotter that brings them in by itself: what it has is known before it would be fetched. */
async function unpackOptionsOf(
  leased: Client,
  name: string,
  { unpack: unpacking, platform = only(hostPlatform()), signal }: PullImageOptions,
): Promise<UnpackOptions | undefined> {
  if (unpacking === undefined) return undefined;
  const own = await optionsOfUnpack(leased, { ...unpacking, platform, ...(signal && { signal }) });
  if (!(await bringsLayers(leased, unpacking.snapshotter, { signal }))) return own;
  return { ...own, concurrency: 1, remoteName: name };
}
