import { expect, it } from "vitest";

import { EROFS_LAYER } from "./erofs-layer.ts";
import { isLayerType, MediaType } from "./media-types.ts";

it.each([
  ["application/vnd.oci.image.layer.v1.tar+gzip", true],
  ["application/vnd.oci.image.layer.v1.tar+zstd+encrypted", true],
  [MediaType.dockerForeignLayerGzip, true],
  [EROFS_LAYER, true],
  [`${EROFS_LAYER}+zstd`, true],
  [MediaType.ociConfig, false],
  [MediaType.ociManifest, false],
])("isLayerType(%j) is %s", (mediaType, expected) => expect(isLayerType(mediaType)).toBe(expected));
