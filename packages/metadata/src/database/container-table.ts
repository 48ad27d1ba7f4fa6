import { create } from "@bufbuild/protobuf";
import { ContainerEntrySchema } from "@berth/api/berth/metadata/v1/container";
import type { Container } from "@berth/core/containers";
import { fromProtoLabels, toProtoLabels } from "@berth/core/labels";

import type { Table } from "./table.ts";
import { defineTable } from "./table.ts";
import { fromExtensions, fromTypedValue, toExtensions, toTypedValue } from "./typed-value.ts";

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
    extensions: fromExtensions(entry.extensions),
    sandboxId: entry.sandboxId,
    createdAt: Number(entry.createdAt),
    updatedAt: Number(entry.updatedAt),
  }),
});
