import { create } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import type { Containers, Container as ProtoContainer } from "@berth/api/containerd/services/containers/v1/containers";
import {
  ContainerSchema,
  ListContainerMessageSchema,
  ListContainersResponseSchema,
} from "@berth/api/containerd/services/containers/v1/containers";
import type { Container, ContainerSpec } from "@berth/core/containers";
import { toProtoTimestamp } from "@berth/core/timestamp";
import { fromProtoLabels, toProtoLabels } from "@berth/core/labels";
import { invalidArgument } from "@berth/errors";

import { listAnswer, recordEncoder, singleAnswer } from "./encode-list.ts";
import { fromProtoAny, fromProtoExtensions, toProtoExtensions } from "./proto-any.ts";
import type { StoresOf } from "./scope.ts";

/** This serves `containerd.services.containers.v1.Containers` over any container store. */
export function createContainersService(storesOf: StoresOf): ServiceImpl<typeof Containers> {
  return {
    async get({ id }, context) {
      const container = await storesOf(context).containers.get(id, { signal: context.signal });
      return { container: toProtoContainer(container) };
    },
    async list({ filters }, context) {
      const containers = await Array.fromAsync(storesOf(context).containers.list({ filters, signal: context.signal }));
      return listAnswer(create(ListContainersResponseSchema), "containers", containers, containerEncoder);
    },
    async *listStream({ filters }, context) {
      const listed = storesOf(context).containers.list({ filters, signal: context.signal });
      for await (const container of listed) {
        yield singleAnswer(create(ListContainerMessageSchema), "container", container, containerEncoder);
      }
    },
    async create({ container }, context) {
      const options = { signal: context.signal };
      const created = await storesOf(context).containers.create(fromProtoContainer(container), options);
      return { container: toProtoContainer(created) };
    },
    async update({ container, updateMask }, context) {
      const options = { fieldpaths: updateMask?.paths ?? [], signal: context.signal };
      const updated = await storesOf(context).containers.update(fromProtoContainer(container), options);
      return { container: toProtoContainer(updated) };
    },
    async delete({ id }, context) {
      await storesOf(context).containers.delete(id, { signal: context.signal });
      return {};
    },
  };
}

const SPEC_FIELD = 5;

/** Encodes containers for lists: their specs, which are most of them, are not kept a second time. */
export const containerEncoder = recordEncoder({
  schema: ContainerSchema,
  toMessage: toProtoContainer,
  bulk: {
    field: SPEC_FIELD,
    valueOf: ({ spec }: Container) => spec,
    toHead: (container) => {
      const message = toProtoContainer(container);
      delete message.spec;
      return message;
    },
  },
});

/** This makes the message of a container. */
export function toProtoContainer(container: Container): ProtoContainer {
  const { id, labels, image, runtime, spec, snapshotter, snapshotKey, extensions, sandboxId } = container;
  return create(ContainerSchema, {
    id,
    labels: toProtoLabels(labels),
    image,
    runtime: { name: runtime.name, ...(runtime.options === undefined ? {} : { options: runtime.options }) },
    ...(spec === undefined ? {} : { spec }),
    snapshotter,
    snapshotKey,
    extensions: toProtoExtensions(extensions),
    sandbox: sandboxId,
    createdAt: toProtoTimestamp(container.createdAt),
    updatedAt: toProtoTimestamp(container.updatedAt),
  });
}

/** This reads the message of a container. @throws invalid_argument - there is none */
function fromProtoContainer(container: ProtoContainer | undefined): ContainerSpec {
  if (container === undefined) throw invalidArgument("container must be given");
  const { id, labels, image, runtime, spec, snapshotter, snapshotKey, extensions, sandbox } = container;
  const { options } = runtime ?? {};
  return {
    id,
    labels: fromProtoLabels(labels),
    image,
    runtime: { name: runtime?.name ?? "", ...(options === undefined ? {} : { options: fromProtoAny(options) }) },
    ...(spec === undefined ? {} : { spec: fromProtoAny(spec) }),
    snapshotter,
    snapshotKey,
    extensions: fromProtoExtensions(extensions),
    sandboxId: sandbox,
  };
}
