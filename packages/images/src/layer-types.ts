import type { Compression } from "@berth/archive";
import { MediaType } from "@berth/oci";

const OCI_NONDISTRIBUTABLE = "application/vnd.oci.image.layer.nondistributable.v1.tar";

const OCI: Readonly<Record<Compression, string>> = {
  none: MediaType.ociLayer,
  gzip: MediaType.ociLayerGzip,
  zstd: MediaType.ociLayerZstd,
};
const DOCKER: Readonly<Record<Compression, string>> = {
  none: MediaType.dockerLayer,
  gzip: MediaType.dockerLayerGzip,
  zstd: MediaType.dockerLayerZstd,
};
const FOREIGN: Readonly<Record<Compression, string>> = {
  none: OCI_NONDISTRIBUTABLE,
  gzip: `${OCI_NONDISTRIBUTABLE}+gzip`,
  zstd: `${OCI_NONDISTRIBUTABLE}+zstd`,
};

/** Whether the bytes of a layer can be read by whoever has them: neither encrypted nor of a format of its own. */
export function isPlainLayer(mediaType: string): boolean {
  return [...Object.values(OCI), ...Object.values(DOCKER)].includes(mediaType);
}

/** Layers that are got from elsewhere than the registry, and mostly are not in the store. */
export function isForeignLayer(mediaType: string): boolean {
  return mediaType.startsWith(MediaType.dockerForeignLayer) || mediaType.startsWith(OCI_NONDISTRIBUTABLE);
}

/** This names the type of a layer by its compression, in the words of Docker or of OCI. */
export function layerType(compression: Compression, { isDocker }: { readonly isDocker: boolean }): string {
  return (isDocker ? DOCKER : OCI)[compression];
}

/** This says whether a type of a document or layer is one of Docker's. */
export function isDockerType(mediaType: string): boolean {
  return mediaType.startsWith("application/vnd.docker.");
}

const TO_OCI: ReadonlyMap<string, string> = new Map<string, string>([
  [MediaType.dockerManifestList, MediaType.ociIndex],
  [MediaType.dockerManifest, MediaType.ociManifest],
  [MediaType.dockerConfig, MediaType.ociConfig],
  [MediaType.dockerForeignLayer, FOREIGN.none],
  [MediaType.dockerForeignLayerGzip, FOREIGN.gzip],
  [`${MediaType.dockerForeignLayer}.zstd`, FOREIGN.zstd],
]);

/** This returns OCI's type for one of Docker's, but for layers that are here: their bytes tell. */
export function toOciType(mediaType: string): string {
  return TO_OCI.get(mediaType) ?? mediaType;
}
