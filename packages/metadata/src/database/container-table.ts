import { create } from "@bufbuild/protobuf";
import type { TypedValue } from "@berth/api/berth/metadata/v1/container";
import { ContainerEntrySchema, TypedValueSchema } from "@berth/api/berth/metadata/v1/container";
import type { AnyValue } from "@berth/core/any";
import type { Container } from "@berth/core/containers";
import { fromProtoLabels, toProtoLabels } from "@berth/core/labels";

import type { Table } from "./table.ts";
import { defineTable } from "./table.ts";

/** Containers by id. */
export const containers: Table<Container> = defineTable({
  name: "containers",
  prefix: 3,
  schema: ContainerEntrySchema,
  toMessage: (container) =>
    create(ContainerEntrySchema, {
      labels: toProtoLabels(container.labels),
      image: container.image,
      runtimeName: container.runtime.name,
      ...(container.runtime.options === undefined ? {} : { runtimeOptions: toTypedValue(container.runtime.options) }),
      ...(container.spec === undefined ? {} : { spec: toTypedValue(container.spec) }),
      snapshotter: container.snapshotter,
      snapshotKey: container.snapshotKey,
      extensions: toExtensions(container.extensions),
      sandboxId: container.sandboxId,
      createdAt: BigInt(container.createdAt),
      updatedAt: BigInt(container.updatedAt),
    }),
  fromMessage: (entry, { key }) => ({
    id: key,
    labels: fromProtoLabels(entry.labels),
    image: entry.image,
    runtime: {
      name: entry.runtimeName,
      ...(entry.runtimeOptions === undefined ? {} : { options: fromTypedValue(entry.runtimeOptions) }),
    },
    ...(entry.spec === undefined ? {} : { spec: fromTypedValue(entry.spec) }),
    snapshotter: entry.snapshotter,
    snapshotKey: entry.snapshotKey,
    extensions: new Map(Object.entries(entry.extensions).map(([name, value]) => [name, fromTypedValue(value)])),
    sandboxId: entry.sandboxId,
    createdAt: Number(entry.createdAt),
    updatedAt: Number(entry.updatedAt),
  }),
});

function toTypedValue({ typeUrl, value }: AnyValue): TypedValue {
  return create(TypedValueSchema, { typeUrl, value });
}

function fromTypedValue({ typeUrl, value }: TypedValue): AnyValue {
  return { typeUrl, value };
}

function toExtensions(extensions: ReadonlyMap<string, AnyValue>): Record<string, TypedValue> {
  const result: Record<string, TypedValue> = Object.create(null);
  for (const [name, value] of extensions) result[name] = toTypedValue(value);
  return result;
}
