import type { Client, Transport } from "@connectrpc/connect";
import type { Any } from "@bufbuild/protobuf/wkt";
import type { Container as WireContainer } from "@berth/api/containerd/services/containers/v1/containers";
import { Containers } from "@berth/api/containerd/services/containers/v1/containers";
import type { AnyValue, CallOptions } from "@berth/core/any";
import type { Container, ContainerSpec, ContainerStore } from "@berth/core/containers";
import type { ListOptions, UpdateOptions } from "@berth/core/content";
import { fromProtoLabels, toProtoLabels } from "@berth/core/labels";
import { fromProtoTimestamp } from "@berth/core/timestamp";
import { isUnimplemented } from "@berth/errors";
import { createClient } from "@berth/rpc/client";

import { callOptions } from "./call-options.ts";
import { fromProtoAny, present, toProtoAny, toProtoMask } from "./wire-values.ts";

/** This makes a container store of the one that answers over `transport`. */
export function createContainersClient(transport: Transport): ContainerStore {
  return new RemoteContainerStore(createClient(Containers, transport));
}

class RemoteContainerStore implements ContainerStore {
  readonly #client: Client<typeof Containers>;

  constructor(client: Client<typeof Containers>) {
    this.#client = client;
  }

  async get(id: string, options?: CallOptions): Promise<Container> {
    const { container } = await this.#client.get({ id }, callOptions(options));
    return fromProtoContainer(present(container, "container"));
  }

  async *list(options?: ListOptions): AsyncIterable<Container> {
    const request = { filters: [...(options?.filters ?? [])] };
    let streamed = false;
    try {
      for await (const { container } of this.#client.listStream(request, callOptions(options))) {
        streamed = true;
        yield fromProtoContainer(present(container, "container"));
      }
    } catch (error) {
      // Old peers know only the list that must fit into one message.
      if (streamed || !isUnimplemented(error)) throw error;
      const { containers } = await this.#client.list(request, callOptions(options));
      yield* containers.map(fromProtoContainer);
    }
  }

  async create(container: ContainerSpec, options?: CallOptions): Promise<Container> {
    const answer = await this.#client.create({ container: toProtoContainer(container) }, callOptions(options));
    return fromProtoContainer(present(answer.container, "container"));
  }

  async update(container: ContainerSpec, options?: UpdateOptions): Promise<Container> {
    const answer = await this.#client.update(
      { container: toProtoContainer(container), ...toProtoMask(options?.fieldpaths) },
      callOptions(options),
    );
    return fromProtoContainer(present(answer.container, "container"));
  }

  async delete(id: string, options?: CallOptions): Promise<void> {
    await this.#client.delete({ id }, callOptions(options));
  }
}

/** This makes the message of a container; its times are the peer's to set. */
export function toProtoContainer(container: ContainerSpec) {
  const { runtime, spec } = container;
  const extensions: Record<string, ReturnType<typeof toProtoAny>> = Object.create(null);
  for (const [name, value] of container.extensions) extensions[name] = toProtoAny(value);
  return {
    id: container.id,
    labels: toProtoLabels(container.labels),
    image: container.image,
    runtime: {
      name: runtime.name,
      ...(runtime.options === undefined ? {} : { options: toProtoAny(runtime.options) }),
    },
    ...(spec === undefined ? {} : { spec: toProtoAny(spec) }),
    snapshotter: container.snapshotter,
    snapshotKey: container.snapshotKey,
    extensions,
    sandbox: container.sandboxId,
  };
}

function fromProtoContainer(container: WireContainer): Container {
  const { runtime, spec } = container;
  const extensions = Object.entries(container.extensions).map(([name, value]): [string, AnyValue] => [
    name,
    fromProtoAny(value),
  ]);
  return {
    id: container.id,
    labels: fromProtoLabels(container.labels),
    image: container.image,
    runtime: { name: runtime?.name ?? "", ...optional("options", runtime?.options) },
    ...optional("spec", spec),
    snapshotter: container.snapshotter,
    snapshotKey: container.snapshotKey,
    extensions: new Map(extensions),
    sandboxId: container.sandbox,
    createdAt: fromProtoTimestamp(container.createdAt),
    updatedAt: fromProtoTimestamp(container.updatedAt),
  };
}

function optional<K extends string>(name: K, value: Any | undefined): { [P in K]?: AnyValue } {
  // A computed key widens to an index signature, which is the mapped type for a single literal.
  return (value === undefined ? {} : { [name]: fromProtoAny(value) }) as { [P in K]?: AnyValue };
}
