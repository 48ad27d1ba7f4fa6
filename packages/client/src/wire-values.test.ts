import { Code, codeOf } from "@berth/errors";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

import type { Timestamp } from "@bufbuild/protobuf/wkt";

import {
  fromProtoInt,
  fromProtoTimestamp,
  fromProtoTimestampNs,
  toProtoTimestamp,
  toProtoTimestampNs,
} from "./wire-values.ts";

const timestamp = (seconds: bigint, nanos: number): Timestamp => ({
  $typeName: "google.protobuf.Timestamp",
  seconds,
  nanos,
});

describe("timestamps", () => {
  it.each([
    [undefined, 0],
    [timestamp(-62_135_596_800n, 0), 0],
    [timestamp(1n, 2_000_000), 1002],
    [timestamp(-1n, 500_000_000), -500],
  ])("fromProtoTimestamp, row %#", (time, expected) => {
    expect(fromProtoTimestamp(time)).toBe(expected);
  });

  it("nanoseconds and milliseconds come back as they went", () => {
    const ns = fc.bigInt({ min: -(10n ** 18n), max: 10n ** 19n });
    fc.assert(
      fc.property(ns, fc.integer({ min: -(10 ** 12), max: 10 ** 13 }), (timeNs, timeMs) => {
        const wire = toProtoTimestampNs(timeNs);
        expect(wire.nanos).toBeGreaterThanOrEqual(0);
        expect(fromProtoTimestampNs(timestamp(wire.seconds, wire.nanos))).toBe(timeNs);
        const { seconds, nanos } = toProtoTimestamp(timeMs);
        expect(fromProtoTimestamp(timestamp(seconds, nanos))).toBe(timeMs);
      }),
    );
  });
});

describe("fromProtoInt", () => {
  it("narrows what fits and refuses what does not", () => {
    expect(fromProtoInt(2n ** 53n - 1n)).toBe(Number.MAX_SAFE_INTEGER);
    for (const value of [2n ** 53n, -(2n ** 53n), 2n ** 63n - 1n]) {
      let error: unknown;
      try {
        fromProtoInt(value);
      } catch (thrown) {
        error = thrown;
      }
      expect(codeOf(error)).toBe(Code.OutOfRange);
    }
  });
});
