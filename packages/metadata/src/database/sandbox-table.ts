import { create } from "@bufbuild/protobuf";
import { SandboxEntrySchema } from "@berth/api/berth/metadata/v1/sandbox";
import { fromProtoLabels, toProtoLabels } from "@berth/core/labels";
import type { Sandbox } from "@berth/core/sandboxes";

import type { Table } from "./table.ts";
import { defineTable } from "./table.ts";
import { fromExtensions, fromTypedValue, toExtensions, toTypedValue } from "./typed-value.ts";

/** Sandboxes by id. */
export const sandboxes: Table<Sandbox> = defineTable({
  name: "sandboxes",
  prefix: 9,
  schema: SandboxEntrySchema,
  toMessage: ({ labels, runtime, spec, sandboxer, extensions, createdAt, updatedAt }) =>
    create(SandboxEntrySchema, {
      labels: toProtoLabels(labels),
      runtimeName: runtime.name,
      ...(runtime.options === undefined ? {} : { runtimeOptions: toTypedValue(runtime.options) }),
      ...(spec === undefined ? {} : { spec: toTypedValue(spec) }),
      sandboxer,
      extensions: toExtensions(extensions),
      createdAt: BigInt(createdAt),
      updatedAt: BigInt(updatedAt),
    }),
  fromMessage: (entry, { key }) => ({
    id: key,
    labels: fromProtoLabels(entry.labels),
    runtime: {
      name: entry.runtimeName,
      ...(entry.runtimeOptions === undefined ? {} : { options: fromTypedValue(entry.runtimeOptions) }),
    },
    ...(entry.spec === undefined ? {} : { spec: fromTypedValue(entry.spec) }),
    sandboxer: entry.sandboxer,
    extensions: fromExtensions(entry.extensions),
    createdAt: Number(entry.createdAt),
    updatedAt: Number(entry.updatedAt),
  }),
});
