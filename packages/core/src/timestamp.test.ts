import { TimestampSchema } from "@bufbuild/protobuf/wkt";
import { create } from "@bufbuild/protobuf";
import fc from "fast-check";
import { expect, it } from "vitest";

import {
  fromProtoTimestamp,
  fromProtoTimestampNs,
  toProtoTimestamp,
  toProtoTimestampNs,
  toProtoTimestampOrZeroNs,
} from "./timestamp.ts";

const YEAR_ONE = { seconds: -62_135_596_800n, nanos: 0 };

it.each([
  [0n, { seconds: 0n, nanos: 0 }],
  [1_500_000_001n, { seconds: 1n, nanos: 500_000_001 }],
  [-1n, { seconds: -1n, nanos: 999_999_999 }],
])("toProtoTimestampNs(%d) is read back", (timestampNs, expected) => {
  expect(toProtoTimestampNs(timestampNs)).toMatchObject(expected);
  expect(fromProtoTimestampNs(toProtoTimestampNs(timestampNs))).toBe(timestampNs);
});

it("no time is the year 1 for Go, and 0 here", () => {
  expect(toProtoTimestampOrZeroNs(0n)).toMatchObject(YEAR_ONE);
  expect(toProtoTimestampOrZeroNs(5n)).toMatchObject({ seconds: 0n, nanos: 5 });
  expect(fromProtoTimestampNs(toProtoTimestampOrZeroNs(0n))).toBe(0n);
  expect(fromProtoTimestampNs(undefined)).toBe(0n);
});

it.each([
  [undefined, 0],
  [YEAR_ONE, 0],
  [{ seconds: 1n, nanos: 2_000_000 }, 1002],
  [{ seconds: -1n, nanos: 500_000_000 }, -500],
])("fromProtoTimestamp, row %#", (time, expected) => {
  expect(fromProtoTimestamp(time && create(TimestampSchema, time))).toBe(expected);
});

it("nanoseconds and milliseconds come back as they went", () => {
  const ns = fc.bigInt({ min: -(10n ** 18n), max: 10n ** 19n });
  fc.assert(
    fc.property(ns, fc.integer({ min: -(10 ** 12), max: 10 ** 13 }), (timeNs, timeMs) => {
      const wire = toProtoTimestampNs(timeNs);
      expect(wire.nanos).toBeGreaterThanOrEqual(0);
      expect(fromProtoTimestampNs(wire)).toBe(timeNs);
      expect(fromProtoTimestamp(toProtoTimestamp(timeMs))).toBe(timeMs);
    }),
  );
});
