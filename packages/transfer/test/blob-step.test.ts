import type { Descriptor } from "@berth/oci";
import { sha256 } from "@berth/testing";
import { expect, it } from "vitest";

import { BlobTree } from "../src/blob-step.ts";

const blob = (mediaType: string, value: number): Descriptor => ({
  mediaType,
  digest: sha256(Uint8Array.of(value)),
  size: 1,
});
const index = blob("application/vnd.oci.image.index.v1+json", 1);
const manifests = [2, 3].map((value) => blob("application/vnd.oci.image.manifest.v1+json", value));
const layer = blob("application/vnd.oci.image.layer.v1.tar+gzip", 4);

it("a blob stands below what describes it, below all of them, or below the whole", () => {
  const tree = new BlobTree(index, "r.test/i:1");
  expect(tree.stepOf(index)).toEqual({ name: `index-${index.digest}`, parents: ["r.test/i:1"], descriptor: index });
  expect(tree.stepOf(layer)).toMatchObject({ name: `layer-${layer.digest}`, parents: [`index-${index.digest}`] });
  tree.add(index, manifests);
  for (const manifest of manifests) tree.add(manifest, [layer, layer]);
  expect(tree.stepOf(layer).parents).toEqual(manifests.map(({ digest }) => `manifest-${digest}`));
  expect(tree.stepOf(manifests[0] ?? index).parents).toEqual([`index-${index.digest}`]);
});
