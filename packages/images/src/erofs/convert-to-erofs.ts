import { createHash, randomBytes } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { compress } from "@berth/archive";
import type { CallOptions } from "@berth/core/any";
import type { ContentStore } from "@berth/core/content";
import { UNCOMPRESSED_LABEL } from "@berth/core/diff";
import { isAlreadyExists, unimplemented, wrapError } from "@berth/errors";
import { type Descriptor, type Digest, EROFS_LAYER, formatDigest, isErofsLayer } from "@berth/oci";

import { isForeignLayer, isPlainLayer } from "../layer-types.ts";
import { type ErofsSettings, makeErofs } from "./make-erofs.ts";

/** How layers become EROFS images. */
export interface ErofsConversion extends ErofsSettings {
  /** Compress the whole image by zstd, which then cannot be mounted as it is stored. */
  readonly zstd?: boolean;
}

/** A layer that has become another, and what it is when unpacked. */
export interface ErofsLayer {
  readonly layer: Descriptor;
  readonly diffId: Digest;
}

/**
 * This stores a layer as an EROFS image. Layers that are one already, and those that are not to be passed on, stay as they are.
 *
 * @throws unimplemented - encrypted, or of another format of its own; as {@link makeErofs}
 * @see containerd core/images/converter/erofs/erofs.go, LayerConvertFunc
 */
export async function convertToErofs(
  content: ContentStore,
  layer: Descriptor,
  diffId: Digest,
  { zstd = false, ...settings }: ErofsConversion & CallOptions,
): Promise<ErofsLayer> {
  if (isErofsLayer(layer.mediaType) || isForeignLayer(layer.mediaType)) return { layer, diffId };
  if (!isPlainLayer(layer.mediaType))
    throw unimplemented(`layer ${layer.digest} is a ${layer.mediaType}, which is not converted`);
  const { signal } = settings;
  await using undo = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), "berth-erofs-"));
  undo.defer(() => rm(directory, { recursive: true, force: true }));
  const image = join(directory, "layer.erofs");
  await makeErofs(content, layer, diffId, image, settings).catch((error: unknown) => {
    throw wrapError(error, `convert layer ${layer.digest}`);
  });
  const ref = `convert-erofs-${layer.digest}-${randomBytes(6).toString("hex")}`;
  const hash = createHash("sha256");
  async function* hashed(): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const chunk of createReadStream(image)) {
      hash.update(chunk);
      yield chunk;
    }
  }
  const aborted = undo.adopt(ref, (one) => content.abort(one).catch(() => {}));
  await using writer = await content.writer(aborted, { signal });
  let size = 0;
  for await (const chunk of compress(hashed(), zstd ? "zstd" : "none")) {
    signal?.throwIfAborted();
    await writer.write(chunk, { signal });
    size += chunk.length;
  }
  const made = formatDigest("sha256", hash.digest("hex"));
  const digest = await writer.digest({ signal });
  try {
    await writer.commit({ digest, size, signal, labels: new Map([[UNCOMPRESSED_LABEL, made]]) });
  } catch (error) {
    if (!isAlreadyExists(error)) throw error;
  }
  return { layer: { mediaType: zstd ? `${EROFS_LAYER}+zstd` : EROFS_LAYER, digest, size }, diffId: made };
}
