import type { Client, Transport } from "@connectrpc/connect";
import type { Image as WireImage } from "@berth/api/containerd/services/images/v1/images";
import { Images } from "@berth/api/containerd/services/images/v1/images";
import type { CallOptions } from "@berth/core/any";
import type { ListOptions } from "@berth/core/content";
import type { DeleteOptions, Image, ImageSpec, ImageStore, ImageWriteOptions } from "@berth/core/images";
import { fromProtoLabels, toProtoLabels } from "@berth/core/labels";
import { fromProtoTimestamp, toProtoTimestamp } from "@berth/core/timestamp";
import { toProtoDescriptor } from "@berth/core/proto-descriptor";
import type { Descriptor } from "@berth/oci";
import { createClient } from "@berth/rpc/client";

import { callOptions } from "./call-options.ts";
import { fromProtoDescriptor, present, toProtoMask } from "./wire-values.ts";

/** This makes an image store of the one that answers over `transport`. */
export function createImagesClient(transport: Transport): ImageStore {
  return new RemoteImageStore(createClient(Images, transport));
}

class RemoteImageStore implements ImageStore {
  readonly #client: Client<typeof Images>;

  constructor(client: Client<typeof Images>) {
    this.#client = client;
  }

  async get(name: string, options?: CallOptions): Promise<Image> {
    const { image } = await this.#client.get({ name }, callOptions(options));
    return fromProtoImage(present(image, "image"));
  }

  async *list(options?: ListOptions): AsyncIterable<Image> {
    const { images } = await this.#client.list({ filters: [...(options?.filters ?? [])] }, callOptions(options));
    yield* images.map(fromProtoImage);
  }

  async create(image: ImageSpec, options?: ImageWriteOptions): Promise<Image> {
    const answer = await this.#client.create({ image: toProtoImage(image), ...epoch(options) }, callOptions(options));
    return fromProtoImage(present(answer.image, "image"));
  }

  async update(image: ImageSpec, options?: ImageWriteOptions): Promise<Image> {
    const answer = await this.#client.update(
      { image: toProtoImage(image), ...toProtoMask(options?.fieldpaths), ...epoch(options) },
      callOptions(options),
    );
    return fromProtoImage(present(answer.image, "image"));
  }

  async delete(
    name: string,
    options?: DeleteOptions & { readonly target?: Pick<Descriptor, "digest"> },
  ): Promise<void> {
    const target = options?.target;
    await this.#client.delete(
      { name, sync: options?.sync ?? false, ...(target === undefined ? {} : { target: { digest: target.digest } }) },
      callOptions(options),
    );
  }
}

function epoch(options: ImageWriteOptions | undefined) {
  const time = options?.sourceDateEpoch;
  return time === undefined ? {} : { sourceDateEpoch: toProtoTimestamp(time) };
}

/** This makes the message of an image; its times are the peer's to set. */
export function toProtoImage({ name, labels, target }: ImageSpec) {
  return { name, labels: toProtoLabels(labels), target: toProtoDescriptor(target) };
}

function fromProtoImage(image: WireImage): Image {
  return {
    name: image.name,
    labels: fromProtoLabels(image.labels),
    target: fromProtoDescriptor(image.target),
    createdAt: fromProtoTimestamp(image.createdAt),
    updatedAt: fromProtoTimestamp(image.updatedAt),
  };
}
