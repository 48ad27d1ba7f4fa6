import { expect, it } from "vitest";

import { fromProtoTimestampNs, toProtoTimestampNs, toProtoTimestampOrZeroNs } from "./timestamp.ts";

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
