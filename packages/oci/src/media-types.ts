import { isErofsLayer } from "./erofs-layer.ts";

/** The media types of images that berth reads and writes. */
export const MediaType = {
  ociIndex: "application/vnd.oci.image.index.v1+json",
  ociManifest: "application/vnd.oci.image.manifest.v1+json",
  ociConfig: "application/vnd.oci.image.config.v1+json",
  ociLayer: "application/vnd.oci.image.layer.v1.tar",
  ociLayerGzip: "application/vnd.oci.image.layer.v1.tar+gzip",
  ociLayerZstd: "application/vnd.oci.image.layer.v1.tar+zstd",
  ociDescriptor: "application/vnd.oci.descriptor.v1+json",
  dockerManifestList: "application/vnd.docker.distribution.manifest.list.v2+json",
  dockerManifest: "application/vnd.docker.distribution.manifest.v2+json",
  dockerConfig: "application/vnd.docker.container.image.v1+json",
  dockerLayer: "application/vnd.docker.image.rootfs.diff.tar",
  dockerLayerGzip: "application/vnd.docker.image.rootfs.diff.tar.gzip",
  dockerLayerZstd: "application/vnd.docker.image.rootfs.diff.tar.zstd",
  dockerForeignLayer: "application/vnd.docker.image.rootfs.foreign.diff.tar",
  dockerForeignLayerGzip: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
} as const;

const INDEXES: ReadonlySet<string> = new Set([MediaType.ociIndex, MediaType.dockerManifestList]);
const MANIFESTS: ReadonlySet<string> = new Set([MediaType.ociManifest, MediaType.dockerManifest]);
const CONFIGS: ReadonlySet<string> = new Set([MediaType.ociConfig, MediaType.dockerConfig]);

/** This says whether the type is a list of manifests. */
export function isIndexType(mediaType: string): boolean {
  return INDEXES.has(mediaType);
}

/** This says whether the type is the manifest of one image. */
export function isManifestType(mediaType: string): boolean {
  return MANIFESTS.has(mediaType);
}

/** This says whether the type is the configuration of an image. */
export function isConfigType(mediaType: string): boolean {
  return CONFIGS.has(mediaType);
}

/** This says whether the type is a file system layer, an archive or an EROFS image, whatever its compression. */
export function isLayerType(mediaType: string): boolean {
  return (
    mediaType.startsWith(MediaType.ociLayer) ||
    mediaType.startsWith("application/vnd.oci.image.layer.nondistributable.v1.tar") ||
    mediaType.startsWith(MediaType.dockerLayer) ||
    mediaType.startsWith(MediaType.dockerForeignLayer) ||
    isErofsLayer(mediaType)
  );
}
