import type { CallOptions } from "@berth/core/any";
import { noLabels } from "@berth/core/labels";
import type { Snapshotter } from "@berth/core/snapshots";
import { isNotFound } from "@berth/errors";
import type { Descriptor } from "@berth/oci";

import { imageLabels } from "./image-labels.ts";
import type { ResolvedImage } from "./resolve-manifest.ts";
import { resolveImage } from "./resolve-manifest.ts";
import type { LayerToUnpack } from "./unpack-layer.ts";
import { unpackOne, unpackTogether } from "./unpack-layers.ts";
import type { UnpackOptions } from "./unpack-options.ts";

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
  await unpackLayers(image, options);
  await labelConfig(image, options);
  return image;
}

/** This unpacks the layers of an image, and labels nothing but the layers; see {@link unpack}. */
export async function unpackLayers(image: ResolvedImage, options: UnpackOptions): Promise<void> {
  const layers = layersOf(image, options);
  if ((options.concurrency ?? 1) > 1 && layers.length > 1) await unpackTogether(layers, options);
  else for (const layer of layers) await unpackOne(layer, options);
}

/** This says whether the snapshot of an image's layers is there. @throws as `resolveImage` */
export async function isUnpacked(
  target: Descriptor,
  options: CallOptions & Pick<UnpackOptions, "content" | "snapshotter" | "platform">,
): Promise<boolean> {
  const { chainId } = await resolveImage(options.content, target, options.platform, options);
  return chainId === "" || (await exists(options.snapshotter, chainId, options));
}

function layersOf(image: ResolvedImage, { remoteName }: UnpackOptions): LayerToUnpack[] {
  return image.manifest.layers.map((descriptor, index) => ({
    descriptor,
    // resolveImage has checked that there are as many of each.
    diffId: image.diffIds[index] ?? descriptor.digest,
    chainId: image.chainIds[index] ?? "",
    parent: image.chainIds[index - 1] ?? "",
    labels: remoteName === undefined ? noLabels : imageLabels(remoteName, image, index),
  }));
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
