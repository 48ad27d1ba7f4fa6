import type { Any, FieldMask, Timestamp } from "@bufbuild/protobuf/wkt";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { DescriptorSchema } from "@berth/api/containerd/types/descriptor";
import type { Descriptor as WireDescriptor } from "@berth/api/containerd/types/descriptor";
import type { AnyValue } from "@berth/core/any";
import { dataLoss, outOfRange } from "@berth/errors";
import type { Descriptor } from "@berth/oci";
import { parseDigest } from "@berth/oci";

/** Go's zero time is the year 1: as a time of berth it means "not set", which is 0. */
const GO_ZERO_SECONDS = -62_135_596_800n;

/** This narrows an int64. @throws out_of_range - it has no exact JavaScript number */
export function fromProtoInt(value: bigint): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number)) throw outOfRange(`${value} is beyond 2^53 - 1`);
  return number;
}

/** This returns milliseconds since 1970, 0 for a time that is not set. */
export function fromProtoTimestamp(time: Timestamp | undefined): number {
  return time === undefined ? 0 : Number(fromProtoTimestampNs(time) / 1_000_000n);
}

/** This returns nanoseconds since 1970, 0 for a time that is not set. */
export function fromProtoTimestampNs(time: Timestamp | undefined): bigint {
  if (time === undefined || time.seconds === GO_ZERO_SECONDS) return 0n;
  return time.seconds * 1_000_000_000n + BigInt(time.nanos);
}

/** This is the inverse of {@link fromProtoTimestampNs}. */
export function toProtoTimestampNs(timeNs: bigint): { seconds: bigint; nanos: number } {
  const seconds = timeNs / 1_000_000_000n;
  const nanos = Number(timeNs % 1_000_000_000n);
  // The wire counts nanoseconds forward, also before 1970.
  return nanos < 0 ? { seconds: seconds - 1n, nanos: nanos + 1_000_000_000 } : { seconds, nanos };
}

/** This is the inverse of {@link fromProtoTimestamp}. */
export function toProtoTimestamp(timeMs: number): { seconds: bigint; nanos: number } {
  return toProtoTimestampNs(BigInt(Math.trunc(timeMs)) * 1_000_000n);
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

/** This makes the wire form of a descriptor; platform, urls and data do not travel. */
export function toProtoDescriptor(descriptor: Descriptor): MessageInitShape<typeof DescriptorSchema> {
  const { mediaType, digest, size, annotations } = descriptor;
  return { mediaType, digest, size: BigInt(size), ...(annotations === undefined ? {} : { annotations }) };
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
