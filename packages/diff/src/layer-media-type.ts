import { unimplemented } from "@berth/errors";
import { MediaType } from "@berth/oci";

const OCI_NONDISTRIBUTABLE = "application/vnd.oci.image.layer.nondistributable.v1.tar";

/** The tar as it is. */
const PLAIN: ReadonlySet<string> = new Set([MediaType.ociLayer, OCI_NONDISTRIBUTABLE]);

/** Compressed in whatever way: the first bytes tell, since the names have been wrong too often. */
const COMPRESSED: ReadonlySet<string> = new Set([
  MediaType.ociLayerGzip,
  MediaType.ociLayerZstd,
  `${OCI_NONDISTRIBUTABLE}+gzip`,
  `${OCI_NONDISTRIBUTABLE}+zstd`,
  MediaType.dockerLayer,
  MediaType.dockerLayerGzip,
  MediaType.dockerLayerZstd,
  MediaType.dockerForeignLayer,
  MediaType.dockerForeignLayerGzip,
  `${MediaType.dockerForeignLayer}.zstd`,
]);

/**
 * This says how the bytes of a layer become a tar.
 *
 * @throws unimplemented - not a layer type that is known here
 * @see containerd core/diff/stream.go, GetProcessor
 */
export function layerCompression(mediaType: string): "none" | "detect" {
  if (PLAIN.has(mediaType)) return "none";
  if (COMPRESSED.has(mediaType)) return "detect";
  throw unimplemented(`no processor for media-type ${JSON.stringify(mediaType)}`);
}
