import { create } from "@bufbuild/protobuf";
import { BlobEntrySchema, IngestEntrySchema } from "@berth/api/berth/metadata/v1/content";
import { ImageEntrySchema, ImageTargetSchema } from "@berth/api/berth/metadata/v1/image";
import { LeaseEntrySchema, LeaseResourceEntrySchema } from "@berth/api/berth/metadata/v1/lease";
import { NamespaceEntrySchema } from "@berth/api/berth/metadata/v1/namespace";
import { SnapshotRecordEntrySchema } from "@berth/api/berth/metadata/v1/snapshot_record";
import type { Image } from "@berth/core/images";
import type { Labels } from "@berth/core/labels";
import { fromProtoLabels, toProtoLabels } from "@berth/core/labels";
import type { Lease, LeaseResource } from "@berth/core/leases";
import type { Digest } from "@berth/oci";
import { parseDigest } from "@berth/oci";

import { containers } from "./container-table.ts";
import { sandboxes } from "./sandbox-table.ts";
import type { Table } from "./table.ts";
import { defineTable } from "./table.ts";

/** A blob of one namespace. */
export interface BlobRecord {
  readonly digest: Digest;
  readonly size: number;
  readonly labels: Labels;
  readonly createdAt: number;
  readonly updatedAt: number;
}

/** An ingest of one namespace. */
export interface IngestRecord {
  readonly ref: string;
  readonly backendRef: string;
  /** Set while the ingest shares this blob of another namespace instead of having bytes of its own. */
  readonly expected?: Digest;
  /** Size of the shared blob. */
  readonly size: number;
  /** Absent when a lease decides how long it lives. */
  readonly expireAt?: number;
  readonly startedAt: number;
}

/** A snapshot of one namespace. */
export interface SnapshotRecord {
  readonly key: string;
  readonly backendKey: string;
  /** Key of the parent in this namespace, empty for none. */
  readonly parent: string;
  /** Number of snapshots whose parent this is. */
  readonly children: number;
  readonly labels: Labels;
  readonly createdAt: number;
  readonly updatedAt: number;
}

/** Labels of the namespaces; the namespace is the key. */
export const namespaces: Table<Labels> = defineTable({
  name: "namespaces",
  prefix: 1,
  schema: NamespaceEntrySchema,
  toMessage: (labels) => create(NamespaceEntrySchema, { labels: toProtoLabels(labels) }),
  fromMessage: ({ labels }) => fromProtoLabels(labels),
});

export const images: Table<Image> = defineTable({
  name: "images",
  prefix: 2,
  schema: ImageEntrySchema,
  toMessage: ({ labels, target, createdAt, updatedAt }) =>
    create(ImageEntrySchema, {
      labels: toProtoLabels(labels),
      target: create(ImageTargetSchema, {
        mediaType: target.mediaType,
        digest: target.digest,
        size: BigInt(target.size),
        annotations: { ...target.annotations },
      }),
      createdAt: BigInt(createdAt),
      updatedAt: BigInt(updatedAt),
    }),
  fromMessage: ({ labels, target, createdAt, updatedAt }, { key }) => ({
    name: key,
    labels: fromProtoLabels(labels),
    target: {
      mediaType: target?.mediaType ?? "",
      digest: parseDigest(target?.digest ?? ""),
      size: Number(target?.size ?? 0n),
      ...(target === undefined || Object.keys(target.annotations).length === 0
        ? {}
        : { annotations: target.annotations }),
    },
    createdAt: Number(createdAt),
    updatedAt: Number(updatedAt),
  }),
});

export { containers, sandboxes };

export const leases: Table<Lease> = defineTable({
  name: "leases",
  prefix: 4,
  schema: LeaseEntrySchema,
  toMessage: ({ labels, createdAt }) =>
    create(LeaseEntrySchema, { labels: toProtoLabels(labels), createdAt: BigInt(createdAt) }),
  fromMessage: ({ labels, createdAt }, { key }) => ({
    id: key,
    labels: fromProtoLabels(labels),
    createdAt: Number(createdAt),
  }),
});

/** What leases hold; the lease is the group. */
export const leaseResources: Table<LeaseResource> = defineTable({
  name: "lease resources",
  prefix: 5,
  schema: LeaseResourceEntrySchema,
  toMessage: ({ type, id }) => create(LeaseResourceEntrySchema, { type, id }),
  fromMessage: ({ type, id }) => ({ type, id }),
});

/** Blobs by digest. */
export const blobs: Table<BlobRecord> = defineTable({
  name: "content",
  prefix: 6,
  schema: BlobEntrySchema,
  toMessage: ({ size, labels, createdAt, updatedAt }) =>
    create(BlobEntrySchema, {
      size: BigInt(size),
      labels: toProtoLabels(labels),
      createdAt: BigInt(createdAt),
      updatedAt: BigInt(updatedAt),
    }),
  fromMessage: ({ size, labels, createdAt, updatedAt }, { key }) => ({
    digest: parseDigest(key),
    size: Number(size),
    labels: fromProtoLabels(labels),
    createdAt: Number(createdAt),
    updatedAt: Number(updatedAt),
  }),
});

/** Ingests by ref. */
export const ingests: Table<IngestRecord> = defineTable({
  name: "ingests",
  prefix: 7,
  schema: IngestEntrySchema,
  toMessage: ({ backendRef, expected, size, expireAt, startedAt }) =>
    create(IngestEntrySchema, {
      backendRef,
      expected: expected ?? "",
      size: BigInt(size),
      startedAt: BigInt(startedAt),
      ...(expireAt === undefined ? {} : { expireAt: BigInt(expireAt) }),
    }),
  fromMessage: ({ backendRef, expected, size, expireAt, startedAt }, { key }) => ({
    ref: key,
    backendRef,
    size: Number(size),
    startedAt: Number(startedAt),
    ...(expected === "" ? {} : { expected: parseDigest(expected) }),
    ...(expireAt === undefined ? {} : { expireAt: Number(expireAt) }),
  }),
});

/** Snapshots by key; the snapshotter is the group. */
export const snapshots: Table<SnapshotRecord> = defineTable({
  name: "snapshots",
  prefix: 8,
  schema: SnapshotRecordEntrySchema,
  toMessage: ({ backendKey, parent, children, labels, createdAt, updatedAt }) =>
    create(SnapshotRecordEntrySchema, {
      backendKey,
      parent,
      children,
      labels: toProtoLabels(labels),
      createdAt: BigInt(createdAt),
      updatedAt: BigInt(updatedAt),
    }),
  fromMessage: ({ backendKey, parent, children, labels, createdAt, updatedAt }, { key }) => ({
    key,
    backendKey,
    parent,
    children,
    labels: fromProtoLabels(labels),
    createdAt: Number(createdAt),
    updatedAt: Number(updatedAt),
  }),
});

/** Every table with records in namespaces, in the order in which they are read at start. */
export const allTables: readonly Table<unknown>[] = [
  namespaces,
  images,
  containers,
  leases,
  leaseResources,
  blobs,
  ingests,
  snapshots,
  sandboxes,
];
