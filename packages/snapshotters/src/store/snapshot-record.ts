import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { SnapshotEntrySchema, SnapshotKind as ProtoKind } from "@berth/api/berth/metadata/v1/snapshot";
import { fromProtoLabels, toProtoLabels } from "@berth/core/labels";
import type { SnapshotInfo, SnapshotKind, SnapshotUsage } from "@berth/core/snapshots";
import { dataLoss } from "@berth/errors";

/** A snapshot as the store keeps it. */
export interface SnapshotRecord extends SnapshotInfo {
  /** Names the snapshot on disk; never used again in this store. */
  readonly id: number;
  /** Number of snapshots whose parent this one is. */
  readonly children: number;
  /** As measured at the commit. */
  readonly usage: SnapshotUsage;
}

const KINDS: ReadonlyMap<SnapshotKind, ProtoKind> = new Map([
  ["view", ProtoKind.VIEW],
  ["active", ProtoKind.ACTIVE],
  ["committed", ProtoKind.COMMITTED],
]);
const NAMES: ReadonlyMap<ProtoKind, SnapshotKind> = new Map([...KINDS].map(([name, kind]) => [kind, name]));

/** This makes the bytes that the database keeps; the inverse of {@link decodeSnapshot}. */
export function encodeSnapshot(record: SnapshotRecord): Uint8Array {
  return toBinary(
    SnapshotEntrySchema,
    create(SnapshotEntrySchema, {
      key: record.name,
      id: BigInt(record.id),
      kind: KINDS.get(record.kind) ?? ProtoKind.UNSPECIFIED,
      parent: record.parent,
      children: record.children,
      labels: toProtoLabels(record.labels),
      createdAt: BigInt(record.createdAt),
      updatedAt: BigInt(record.updatedAt),
      size: BigInt(record.usage.size),
      inodes: BigInt(record.usage.inodes),
    }),
  );
}

/** This reads what {@link encodeSnapshot} made. @throws data_loss - it is something else */
export function decodeSnapshot(bytes: Uint8Array): SnapshotRecord {
  const entry = fromBinary(SnapshotEntrySchema, bytes);
  const kind = NAMES.get(entry.kind);
  if (kind === undefined) throw dataLoss(`snapshot ${JSON.stringify(entry.key)} has no kind`);
  return {
    name: entry.key,
    id: Number(entry.id),
    kind,
    parent: entry.parent,
    children: entry.children,
    labels: fromProtoLabels(entry.labels),
    createdAt: Number(entry.createdAt),
    updatedAt: Number(entry.updatedAt),
    usage: { size: Number(entry.size), inodes: Number(entry.inodes) },
  };
}

/** This leaves out what only the store needs. */
export function snapshotInfo(record: SnapshotRecord): SnapshotInfo {
  const { kind, name, parent, labels, createdAt, updatedAt } = record;
  return { kind, name, parent, labels, createdAt, updatedAt };
}
