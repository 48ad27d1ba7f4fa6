import type { CallOptions } from "@berth/core/any";
import type { ContentStore } from "@berth/core/content";
import { noLabels } from "@berth/core/labels";
import { isNotFound, notFound } from "@berth/errors";
import type { Descriptor } from "@berth/oci";

import { LAYER_REFERENCE } from "./gc-labels.ts";
import type { ResolvedImage, ResolvedManifest } from "./resolve-manifest.ts";
import { isUnpacked, unpack } from "./unpack.ts";
import type { UnpackOptions } from "./unpack-options.ts";

/**
 * This leaves the layers of an image that is unpacked to the collector, which takes them when no lease holds them: the image runs without
 * them, but cannot be pushed or exported before it is pulled again. Idempotent.
 *
 * @throws not_found - the manifest
 * @see containerd core/images/mediatypes.go, ChildGCLabelsFilterLayers
 */
export async function discardLayers(
  content: ContentStore,
  { descriptor: { digest } }: Pick<ResolvedManifest, "descriptor">,
  options: CallOptions = {},
): Promise<void> {
  const { labels } = await content.info(digest, options);
  const fieldpaths = [...labels.keys()].filter((key) => key.startsWith(LAYER_REFERENCE)).map((key) => `labels.${key}`);
  if (fieldpaths.length > 0) await content.update({ digest, labels: noLabels }, { ...options, fieldpaths });
}

/**
 * This returns an image whose documents are there if it is unpacked, so that it needs no layers: the caller's lease holds its snapshots from
 * now on.
 *
 * @throws as {@link unpack}
 */
export async function findUnpacked(target: Descriptor, options: UnpackOptions): Promise<ResolvedImage | undefined> {
  const layerReady = ({ digest }: Descriptor): Promise<never> =>
    Promise.reject(notFound(`snapshot of the layer ${digest}`));
  try {
    // To find none, layers that are unpacked side by side would all be prepared.
    if (!(await isUnpacked(target, options))) return undefined;
    return await unpack(target, { ...options, layerReady });
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}
