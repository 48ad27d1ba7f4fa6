import type { Any, FieldMask } from "@bufbuild/protobuf/wkt";
import type { Descriptor as WireDescriptor } from "@berth/api/containerd/types/descriptor";
import type { AnyValue } from "@berth/core/any";
import { dataLoss, outOfRange } from "@berth/errors";
import type { Descriptor } from "@berth/oci";
import { parseDigest } from "@berth/oci";

/** This narrows an int64. @throws out_of_range - it has no exact JavaScript number */
export function fromProtoInt(value: bigint): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number)) throw outOfRange(`${value} is beyond 2^53 - 1`);
  return number;
}

/** This drops what protobuf-es adds to a message. */
export function fromProtoAny(value: Any): AnyValue {
  return { typeUrl: value.typeUrl, value: value.value };
}

/** This is the inverse of {@link fromProtoAny}. */
export function toProtoAny(value: AnyValue): { typeUrl: string; value: Uint8Array } {
  return { typeUrl: value.typeUrl, value: value.value };
}

/** This reads a descriptor. @throws data_loss - the peer sent none; invalid_argument - its digest is none */
export function fromProtoDescriptor(descriptor: WireDescriptor | undefined): Descriptor {
  if (descriptor === undefined) throw dataLoss("the answer holds no descriptor");
  const { mediaType, digest, size, annotations } = descriptor;
  return {
    mediaType,
    digest: parseDigest(digest),
    size: fromProtoInt(size),
    ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
  };
}

/** This makes the field `update_mask` of an update, absent where no paths are given. */
export function toProtoMask(fieldpaths: readonly string[] | undefined): { updateMask?: Pick<FieldMask, "paths"> } {
  return fieldpaths === undefined || fieldpaths.length === 0 ? {} : { updateMask: { paths: [...fieldpaths] } };
}

/** This returns a field that every peer fills. @throws data_loss - this one did not */
export function present<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw dataLoss(`the answer holds no ${what}`);
  return value;
}
