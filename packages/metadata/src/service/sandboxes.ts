import { create } from "@bufbuild/protobuf";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import type { Store } from "@berth/api/containerd/services/sandbox/v1/sandbox";
import type { Sandbox as ProtoSandbox } from "@berth/api/containerd/types/sandbox";
import { SandboxSchema } from "@berth/api/containerd/types/sandbox";
import { fromProtoLabels, toProtoLabels } from "@berth/core/labels";
import type { Sandbox, SandboxSpec, SandboxStore } from "@berth/core/sandboxes";
import { toProtoTimestamp } from "@berth/core/timestamp";
import { invalidArgument } from "@berth/errors";

import { fromProtoAny, fromProtoExtensions, toProtoExtensions } from "./proto-any.ts";

/** Gives the sandboxes that a call works on: of its namespace. */
export type SandboxesOf = (context: HandlerContext) => SandboxStore;

/** This serves `containerd.services.sandbox.v1.Store` over any sandbox store. */
export function createSandboxStoreService(sandboxesOf: SandboxesOf): ServiceImpl<typeof Store> {
  return {
    async create({ sandbox }, context) {
      const created = await sandboxesOf(context).create(fromProtoSandbox(sandbox), { signal: context.signal });
      return { sandbox: toProtoSandbox(created) };
    },
    async update({ sandbox, fields }, context) {
      const options = { fieldpaths: fields, signal: context.signal };
      const updated = await sandboxesOf(context).update(fromProtoSandbox(sandbox), options);
      return { sandbox: toProtoSandbox(updated) };
    },
    async delete({ sandboxId }, context) {
      await sandboxesOf(context).delete(sandboxId, { signal: context.signal });
      return {};
    },
    async list({ filters }, context) {
      const listed = sandboxesOf(context).list({ filters, signal: context.signal });
      return { list: (await Array.fromAsync(listed)).map(toProtoSandbox) };
    },
    async get({ sandboxId }, context) {
      return { sandbox: toProtoSandbox(await sandboxesOf(context).get(sandboxId, { signal: context.signal })) };
    },
  };
}

/** This makes the message of a sandbox. */
function toProtoSandbox(sandbox: Sandbox): ProtoSandbox {
  const { id, labels, runtime, spec, sandboxer, extensions } = sandbox;
  return create(SandboxSchema, {
    sandboxId: id,
    labels: toProtoLabels(labels),
    runtime: { name: runtime.name, ...(runtime.options === undefined ? {} : { options: runtime.options }) },
    ...(spec === undefined ? {} : { spec }),
    sandboxer,
    extensions: toProtoExtensions(extensions),
    createdAt: toProtoTimestamp(sandbox.createdAt),
    updatedAt: toProtoTimestamp(sandbox.updatedAt),
  });
}

/** This reads the message of a sandbox. @throws invalid_argument - there is none */
function fromProtoSandbox(sandbox: ProtoSandbox | undefined): SandboxSpec {
  if (sandbox === undefined) throw invalidArgument("sandbox must be given");
  const { sandboxId, labels, runtime, spec, sandboxer, extensions } = sandbox;
  const { options } = runtime ?? {};
  return {
    id: sandboxId,
    labels: fromProtoLabels(labels),
    runtime: { name: runtime?.name ?? "", ...(options === undefined ? {} : { options: fromProtoAny(options) }) },
    ...(spec === undefined ? {} : { spec: fromProtoAny(spec) }),
    sandboxer,
    extensions: fromProtoExtensions(extensions),
  };
}
