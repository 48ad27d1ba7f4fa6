import type { Labels } from "@berth/core/labels";
import { MAX_LABEL_BYTES } from "@berth/core/labels";

import type { ResolvedImage } from "./resolve-manifest.ts";

const PREFIX = "containerd.io/snapshot/cri.";
const LAYERS = `${PREFIX}image-layers`;

/**
 * This returns what tells a snapshotter where a layer comes from, so that it can bring it in by itself: the image, its manifest, the layer,
 * and the layers from this one up, as many as a label holds.
 *
 * @see containerd pkg/snapshotters/annotations.go, AppendInfoHandlerWrapper
 */
export function imageLabels(name: string, { descriptor, manifest }: ResolvedImage, index: number): Labels {
  const digests = manifest.layers.slice(index).map(({ digest }) => digest);
  let layers = "";
  for (const digest of digests) {
    const longer = layers === "" ? digest : `${layers},${digest}`;
    if (LAYERS.length + longer.length > MAX_LABEL_BYTES) break;
    layers = longer;
  }
  return new Map([
    [`${PREFIX}image-ref`, name],
    [`${PREFIX}manifest-digest`, descriptor.digest],
    [`${PREFIX}layer-digest`, digests[0] ?? ""],
    [LAYERS, layers],
  ]);
}
