import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  ActivationRecordSchema,
  type ActiveMountRecord,
  type MountRecord,
} from "@berth/api/berth/mounts/v1/activation";
import { fromProtoLabels, toProtoLabels } from "@berth/core/labels";
import type { ActiveMount, Mount } from "@berth/core/mount";
import { parseNamespace } from "@berth/core/namespaces";
import { dataLoss } from "@berth/errors";

import type { Activation } from "./activation.ts";

/** This makes the bytes of an activation. */
export function encodeActivation(activation: Activation): Uint8Array {
  const { namespace, name, lease } = activation;
  const record = create(ActivationRecordSchema, {
    namespace,
    name,
    id: BigInt(activation.id),
    lease,
    labels: toProtoLabels(activation.labels),
    createdAt: BigInt(activation.createdAt),
    updatedAt: BigInt(activation.updatedAt),
    active: activation.active.map((mount) => ({
      mount: encodeMount(mount),
      mountPoint: mount.mountPoint,
      mountedAt: BigInt(mount.mountedAt),
      data: toProtoLabels(mount.data),
    })),
    system: activation.system.map(encodeMount),
  });
  return toBinary(ActivationRecordSchema, record);
}

/** This reads an activation. @throws data_loss - the bytes are none */
export function decodeActivation(bytes: Uint8Array): Activation {
  try {
    const record = fromBinary(ActivationRecordSchema, bytes);
    return {
      namespace: parseNamespace(record.namespace),
      name: record.name,
      id: Number(record.id),
      lease: record.lease,
      labels: fromProtoLabels(record.labels),
      createdAt: Number(record.createdAt),
      updatedAt: Number(record.updatedAt),
      active: record.active.map(decodeActive),
      system: record.system.map(decodeMount),
    };
  } catch (error) {
    throw dataLoss("a record of the mount manager cannot be read", { cause: error });
  }
}

function encodeMount({ type, source, target, options }: Mount): Omit<MountRecord, "$typeName"> {
  return { type, source, target, options: [...options] };
}

function decodeMount({ type, source, target, options }: MountRecord): Mount {
  return { type, source, target, options };
}

function decodeActive({ mount, mountPoint, mountedAt, data }: ActiveMountRecord): ActiveMount {
  const { type = "", source = "", target = "", options = [] } = mount ?? {};
  return { type, source, target, options, mountPoint, mountedAt: Number(mountedAt), data: fromProtoLabels(data) };
}
