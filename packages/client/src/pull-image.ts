import { sourceLabels } from "@berth/core/distribution-source";
import type { Image } from "@berth/core/images";
import type { Labels } from "@berth/core/labels";
import { noLabels } from "@berth/core/labels";
import type { FetchImageOptions, UnpackOptions } from "@berth/images";
import { discardLayers, EarlyUnpack, fetchImage, findUnpacked, hasFileSystem, unpack } from "@berth/images";
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
  const { signal, platform = only(hostPlatform()), labels = noLabels } = options;
  return await client.withLease(async (leased) => {
    const { descriptor: target } = await registry.resolve(name, signal === undefined ? {} : { signal });
    options.onResolved?.(target);
    let unpacking = await unpackOptionsOf(leased, name, options);
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
        // What it takes to know the layers is stored by now. Of an artifact there is nothing to unpack.
        if (unpacking === undefined || !(await hasFileSystem(leased.content, target, platform, { signal })))
          return void (unpacking = undefined);
        isUnpacked = await needsNone(target, unpacking, options);
        early = undo.use(new EarlyUnpack({ entries: [target], documents: leased.content }, unpacking));
      },
      needsLayer: async (layer) => {
        if ((await options.needsLayer?.(layer)) === false) return false;
        const isRemote = unpacking?.remoteName !== undefined;
        if (!isUnpacked && !(isRemote && (await early?.isThere(layer.digest)))) return true;
        options.onStored?.(layer, "exists");
        return false;
      },
      onStored: (descriptor, state) => {
        early?.stored(descriptor.digest);
        options.onStored?.(descriptor, state);
      },
    });
    const image = await storeImage(leased.images, { name, target, labels }, { signal });
    await early?.finish();
    if (unpacking !== undefined) await unpackRest(target, unpacking, options);
    return image;
  }, options);
}

/** This finds done what was done meanwhile, and tells why the rest cannot be. */
async function unpackRest(target: Image["target"], unpacking: UnpackOptions, options: PullImageOptions): Promise<void> {
  const image = await unpack(target, unpacking);
  if (options.unpack?.discardLayers === true) await discardLayers(unpacking.content, image, options);
}

/** What was discarded is not fetched again for an image that is unpacked. */
async function needsNone(
  target: Image["target"],
  unpacking: UnpackOptions,
  options: PullImageOptions,
): Promise<boolean> {
  if (options.unpack?.discardLayers !== true || options.everyPlatform === true) return false;
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
