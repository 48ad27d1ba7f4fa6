import { createHash, randomBytes } from "node:crypto";

import type { Compression } from "@berth/archive";
import { compress, COMPRESSION_MAGIC_BYTES, decompress, detectCompression } from "@berth/archive";
import type { CallOptions } from "@berth/core/any";
import type { ContentStore } from "@berth/core/content";
import { streamBlob } from "@berth/core/content";
import { UNCOMPRESSED_LABEL } from "@berth/core/diff";
import { failedPrecondition, isAlreadyExists, unimplemented } from "@berth/errors";
import type { Descriptor, Digest } from "@berth/oci";
import { digestAlgorithm, formatDigest } from "@berth/oci";

import { isForeignLayer, isPlainLayer, layerType, toOciType } from "./layer-types.ts";

/** How layers are to become. */
export interface LayerConversion extends CallOptions {
  readonly content: ContentStore;
  /** Absent: as they are compressed now. */
  readonly compression?: Compression | undefined;
  /** Name types as OCI does, not Docker. */
  readonly oci?: boolean | undefined;
}

/**
 * This stores a layer under another compression and returns its descriptor: the same one where nothing is to be done. What is stored has
 * been read to its end and is the layer of `diffId`. Layers that are not to be passed on keep their bytes.
 *
 * @throws failed_precondition - the blob is not the layer that the configuration of its image names
 * @throws unimplemented - encrypted, or of a format of its own
 * @throws not_found, data_loss, invalid_argument - the blob
 */
export async function convertLayer(layer: Descriptor, diffId: Digest, options: LayerConversion): Promise<Descriptor> {
  const { compression, oci = false } = options;
  const isDocker = !oci && layer.mediaType.startsWith("application/vnd.docker.");
  if (isForeignLayer(layer.mediaType)) return oci ? { ...layer, mediaType: toOciType(layer.mediaType) } : layer;
  if (!isPlainLayer(layer.mediaType)) {
    if (compression === undefined) return layer;
    throw unimplemented(`layer ${layer.digest} is a ${layer.mediaType}, which is not recompressed`);
  }
  // Names have been wrong too often: the first bytes tell.
  const present = await compressionOf(layer, options);
  const wanted = compression ?? present;
  const mediaType = layerType(wanted, { isDocker });
  if (wanted === present) return mediaType === layer.mediaType ? layer : { ...layer, mediaType };
  const { digest, size } = await recompress(layer, diffId, wanted, options);
  // Where the old bytes could be had from, and what else was said of them, does not hold for the new.
  return { mediaType, digest, size };
}

async function compressionOf({ digest }: Descriptor, { content, ...options }: LayerConversion): Promise<Compression> {
  await using reader = await content.reader(digest, options);
  return detectCompression(await reader.readAt(0, COMPRESSION_MAGIC_BYTES, options));
}

async function recompress(
  layer: Descriptor,
  diffId: Digest,
  wanted: Compression,
  { content, signal }: LayerConversion,
): Promise<{ readonly digest: Digest; readonly size: number }> {
  const ref = `convert-${layer.digest}-${wanted}-${randomBytes(6).toString("hex")}`;
  await using undo = new AsyncDisposableStack();
  undo.defer(() => content.abort(ref).catch(() => {}));
  await using writer = await content.writer(ref, { signal });
  const algorithm = digestAlgorithm(diffId);
  const hash = createHash(algorithm);
  async function* hashed(): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const chunk of decompress(streamBlob(content, layer.digest, { signal }))) {
      hash.update(chunk);
      yield chunk;
    }
  }
  let size = 0;
  for await (const chunk of compress(hashed(), wanted)) {
    signal?.throwIfAborted();
    await writer.write(chunk, { signal });
    size += chunk.length;
  }
  const found = formatDigest(algorithm, hash.digest("hex"));
  if (found !== diffId) throw failedPrecondition(`layer ${layer.digest} unpacks to ${found}, not ${diffId}`);
  const digest = await writer.digest({ signal });
  try {
    await writer.commit({ digest, size, signal, labels: new Map([[UNCOMPRESSED_LABEL, diffId]]) });
  } catch (error) {
    if (!isAlreadyExists(error)) throw error;
  }
  undo.move();
  return { digest, size };
}
