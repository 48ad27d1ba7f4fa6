import { create } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import type { Image as ProtoImage, Images } from "@berth/api/containerd/services/images/v1/images";
import { ImageSchema, ListImagesResponseSchema } from "@berth/api/containerd/services/images/v1/images";
import type { Image, ImageSpec, ImageStore } from "@berth/core/images";
import { fromProtoLabels, toProtoLabels } from "@berth/core/labels";
import { fromProtoTimestamp, toProtoTimestamp } from "@berth/core/timestamp";
import { invalidArgument } from "@berth/errors";
import { parseDigest } from "@berth/oci";

import { listAnswer, recordEncoder } from "./encode-list.ts";
import type { StoresOf } from "./scope.ts";

/** This serves `containerd.services.images.v1.Images` over any image store. */
export function createImagesService(storesOf: StoresOf): ServiceImpl<typeof Images> {
  return {
    async get({ name }, context) {
      const image = await storesOf(context).images.get(name, { signal: context.signal });
      return { image: toProtoImage(image) };
    },
    async list({ filters }, context) {
      const images = await Array.fromAsync(storesOf(context).images.list({ filters, signal: context.signal }));
      return listAnswer(create(ListImagesResponseSchema), "images", images, imageEncoder);
    },
    async create({ image, sourceDateEpoch }, context) {
      const time = sourceDateEpoch === undefined ? {} : { sourceDateEpoch: fromProtoTimestamp(sourceDateEpoch) };
      const options = { signal: context.signal, ...time };
      return { image: toProtoImage(await storesOf(context).images.create(fromProtoImage(image), options)) };
    },
    async update({ image, updateMask, sourceDateEpoch }, context) {
      const time = sourceDateEpoch === undefined ? {} : { sourceDateEpoch: fromProtoTimestamp(sourceDateEpoch) };
      const fieldpaths = updateMask?.paths ?? [];
      const options = { signal: context.signal, fieldpaths, ...time };
      const { images } = storesOf(context);
      const spec = await completeImage(image, fieldpaths, images, context.signal);
      return { image: toProtoImage(await images.update(spec, options)) };
    },
    async delete({ name, sync, target }, context) {
      const expected = target === undefined ? {} : { target: { digest: parseDigest(target.digest) } };
      await storesOf(context).images.delete(name, { sync, signal: context.signal, ...expected });
      return {};
    },
  };
}

const imageEncoder = recordEncoder({ schema: ImageSchema, toMessage: toProtoImage });

/** This makes the message of an image. */
function toProtoImage({ name, labels, target, createdAt, updatedAt }: Image): ProtoImage {
  const { mediaType, digest, size, annotations = {} } = target;
  return create(ImageSchema, {
    name,
    labels: toProtoLabels(labels),
    target: { mediaType, digest, size: BigInt(size), annotations: { ...annotations } },
    createdAt: toProtoTimestamp(createdAt),
    updatedAt: toProtoTimestamp(updatedAt),
  });
}

/** This reads the message of an image. @throws invalid_argument - there is none, or its target has no valid digest */
function fromProtoImage(image: ProtoImage | undefined): ImageSpec {
  if (image === undefined) throw invalidArgument("image must be given");
  const { name, labels, target } = image;
  if (name === "") throw invalidArgument("image name must not be empty");
  if (target === undefined) throw invalidArgument(`target of image ${JSON.stringify(name)} must be set`);
  const { mediaType, digest, size, annotations } = target;
  if (size > BigInt(Number.MAX_SAFE_INTEGER)) throw invalidArgument(`size ${size} of target ${digest} is too large`);
  return {
    name,
    labels: fromProtoLabels(labels),
    target: { mediaType, digest: parseDigest(digest), size: Number(size), annotations },
  };
}

/** A change of labels or annotations alone comes without the rest of the target: that is taken from what is stored. */
async function completeImage(
  image: ProtoImage | undefined,
  fieldpaths: readonly string[],
  images: ImageStore,
  signal: AbortSignal,
): Promise<ImageSpec> {
  if (image === undefined || image.name === "" || fieldpaths.length === 0 || fieldpaths.includes("target")) {
    return fromProtoImage(image);
  }
  const { target } = await images.get(image.name, { signal });
  const annotations = image.target?.annotations ?? {};
  return { name: image.name, labels: fromProtoLabels(image.labels), target: { ...target, annotations } };
}
