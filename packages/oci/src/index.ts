export { chainIds } from "./chain-id.ts";
export type { Descriptor } from "./descriptor.ts";
export { parseDescriptor } from "./descriptor.ts";
export type { Digest, DigestAlgorithm } from "./digest.ts";
export { digestAlgorithm, digestHex, formatDigest, isDigest, isDigestAlgorithm, parseDigest } from "./digest.ts";
export { EROFS_LAYER, erofsArguments, erofsUuid, isErofsLayer, MKFS_EROFS_MS } from "./erofs-layer.ts";
export { parseExactJson } from "./exact-json.ts";
export type { ImageConfig, ImageConfigDefaults, ImageIndex, ImageManifest } from "./image.ts";
export { parseImageConfig, parseIndex, parseManifest } from "./image.ts";
export { MediaType, isConfigType, isIndexType, isLayerType, isManifestType } from "./media-types.ts";
export type { Platform, PlatformMatcher } from "./platform.ts";
export {
  allPlatforms,
  formatPlatform,
  hostPlatform,
  normalizePlatform,
  only,
  onlyStrict,
  parsePlatform,
} from "./platform.ts";
export type { Reference } from "./reference.ts";
export { formatReference, parseReference, referenceDigest, referenceHost } from "./reference.ts";
