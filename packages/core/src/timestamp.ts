import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { create } from "@bufbuild/protobuf";
import { TimestampSchema } from "@bufbuild/protobuf/wkt";

const NS_PER_SECOND = 1_000_000_000n;
const NS_PER_MS = 1_000_000n;
/** The beginning of the year 1, by which Go says that there is no time. */
const GO_ZERO_TIME_NS = -62_135_596_800n * NS_PER_SECOND;

/** This makes a protobuf timestamp of nanoseconds since 1970; the inverse of {@link fromProtoTimestampNs}. */
export function toProtoTimestampNs(timestampNs: bigint): Timestamp {
  const nanos = ((timestampNs % NS_PER_SECOND) + NS_PER_SECOND) % NS_PER_SECOND;
  return create(TimestampSchema, { seconds: (timestampNs - nanos) / NS_PER_SECOND, nanos: Number(nanos) });
}

/** This makes the timestamp of what may not have happened yet: of 0 the one by which clients in Go know that. */
export function toProtoTimestampOrZeroNs(timestampNs: bigint): Timestamp {
  return toProtoTimestampNs(timestampNs === 0n ? GO_ZERO_TIME_NS : timestampNs);
}

/** This returns the nanoseconds since 1970 of a protobuf timestamp; 0 when there is none, also where Go says so. */
export function fromProtoTimestampNs(timestamp: Timestamp | undefined): bigint {
  if (timestamp === undefined) return 0n;
  const timestampNs = timestamp.seconds * NS_PER_SECOND + BigInt(timestamp.nanos);
  return timestampNs === GO_ZERO_TIME_NS ? 0n : timestampNs;
}

/** This makes a protobuf timestamp of milliseconds since 1970; the inverse of {@link fromProtoTimestamp}. */
export function toProtoTimestamp(timestampMs: number): Timestamp {
  return toProtoTimestampNs(BigInt(Math.trunc(timestampMs)) * NS_PER_MS);
}

/** This returns the milliseconds since 1970 of a protobuf timestamp; 0 when there is none, also where Go says so. */
export function fromProtoTimestamp(timestamp: Timestamp | undefined): number {
  return Number(fromProtoTimestampNs(timestamp) / NS_PER_MS);
}

/** This reads the clock, in nanoseconds since 1970. */
export function nowNs(): bigint {
  return BigInt(Math.round((performance.timeOrigin + performance.now()) * 1000)) * 1000n;
}
