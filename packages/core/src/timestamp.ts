import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { create } from "@bufbuild/protobuf";
import { TimestampSchema } from "@bufbuild/protobuf/wkt";

const NS_PER_SECOND = 1_000_000_000n;

/** This makes a protobuf timestamp of nanoseconds since 1970; the inverse of {@link fromProtoTimestampNs}. */
export function toProtoTimestampNs(timestampNs: bigint): Timestamp {
  const nanos = ((timestampNs % NS_PER_SECOND) + NS_PER_SECOND) % NS_PER_SECOND;
  return create(TimestampSchema, { seconds: (timestampNs - nanos) / NS_PER_SECOND, nanos: Number(nanos) });
}

/** This returns the nanoseconds since 1970 of a protobuf timestamp; 0 when there is none. */
export function fromProtoTimestampNs(timestamp: Timestamp | undefined): bigint {
  if (timestamp === undefined) return 0n;
  return timestamp.seconds * NS_PER_SECOND + BigInt(timestamp.nanos);
}

/** This reads the clock, in nanoseconds since 1970. */
export function nowNs(): bigint {
  return BigInt(Math.round((performance.timeOrigin + performance.now()) * 1000)) * 1000n;
}
