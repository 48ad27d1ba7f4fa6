import type { Client, Transport } from "@connectrpc/connect";
import { Store } from "@berth/api/containerd/services/sandbox/v1/sandbox";
import type { Sandbox as WireSandbox } from "@berth/api/containerd/types/sandbox";
import type { AnyValue, CallOptions } from "@berth/core/any";
import type { ListOptions, UpdateOptions } from "@berth/core/content";
import { fromProtoLabels, toProtoLabels } from "@berth/core/labels";
import type { Sandbox, SandboxSpec, SandboxStore } from "@berth/core/sandboxes";
import { fromProtoTimestamp } from "@berth/core/timestamp";
import { createClient } from "@berth/rpc/client";

import { callOptions } from "./call-options.ts";
import { fromProtoAny, present, toProtoAny } from "./wire-values.ts";

/** This makes a store of sandboxes of the one that answers over `transport`. */
export function createSandboxesClient(transport: Transport): SandboxStore {
  return new RemoteSandboxStore(createClient(Store, transport));
}

class RemoteSandboxStore implements SandboxStore {
  readonly #client: Client<typeof Store>;

  constructor(client: Client<typeof Store>) {
    this.#client = client;
  }

  async get(id: string, options?: CallOptions): Promise<Sandbox> {
    const { sandbox } = await this.#client.get({ sandboxId: id }, callOptions(options));
    return fromProtoSandbox(present(sandbox, "sandbox"));
  }

  async *list(options?: ListOptions): AsyncIterable<Sandbox> {
    const { list } = await this.#client.list({ filters: [...(options?.filters ?? [])] }, callOptions(options));
    yield* list.map(fromProtoSandbox);
  }

  async create(sandbox: SandboxSpec, options?: CallOptions): Promise<Sandbox> {
    const answer = await this.#client.create({ sandbox: toProtoSandbox(sandbox) }, callOptions(options));
    return fromProtoSandbox(present(answer.sandbox, "sandbox"));
  }

  async update(sandbox: SandboxSpec, options?: UpdateOptions): Promise<Sandbox> {
    const answer = await this.#client.update(
      { sandbox: toProtoSandbox(sandbox), fields: [...(options?.fieldpaths ?? [])] },
      callOptions(options),
    );
    return fromProtoSandbox(present(answer.sandbox, "sandbox"));
  }

  async delete(id: string, options?: CallOptions): Promise<void> {
    await this.#client.delete({ sandboxId: id }, callOptions(options));
  }
}

/** This makes the message of a sandbox. */
export function toProtoSandbox({ id, labels, runtime, spec, sandboxer, extensions }: SandboxSpec) {
  const protoExtensions: Record<string, ReturnType<typeof toProtoAny>> = Object.create(null);
  for (const [name, value] of extensions) protoExtensions[name] = toProtoAny(value);
  return {
    sandboxId: id,
    labels: toProtoLabels(labels),
    runtime: {
      name: runtime.name,
      ...(runtime.options === undefined ? {} : { options: toProtoAny(runtime.options) }),
    },
    ...(spec === undefined ? {} : { spec: toProtoAny(spec) }),
    sandboxer,
    extensions: protoExtensions,
  };
}

function fromProtoSandbox(sandbox: WireSandbox): Sandbox {
  const { runtime, spec } = sandbox;
  const extensions = Object.entries(sandbox.extensions).map(([name, value]): [string, AnyValue] => [
    name,
    fromProtoAny(value),
  ]);
  return {
    id: sandbox.sandboxId,
    labels: fromProtoLabels(sandbox.labels),
    runtime: {
      name: runtime?.name ?? "",
      ...(runtime?.options === undefined ? {} : { options: fromProtoAny(runtime.options) }),
    },
    ...(spec === undefined ? {} : { spec: fromProtoAny(spec) }),
    sandboxer: sandbox.sandboxer,
    extensions: new Map(extensions),
    createdAt: fromProtoTimestamp(sandbox.createdAt),
    updatedAt: fromProtoTimestamp(sandbox.updatedAt),
  };
}
