import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { fromProtoTimestampNs, toProtoTimestampNs } from "@berth/core/timestamp";

const NS_PER_MS = 1_000_000n;

/** This makes a protobuf timestamp of milliseconds since 1970; the inverse of {@link fromProtoTimeMs}. */
export function toProtoTimeMs(timeMs: number): Timestamp {
  return toProtoTimestampNs(BigInt(Math.trunc(timeMs)) * NS_PER_MS);
}

/** This returns the milliseconds since 1970 of a protobuf timestamp. */
export function fromProtoTimeMs(timestamp: Timestamp): number {
  return Number(fromProtoTimestampNs(timestamp) / NS_PER_MS);
}
