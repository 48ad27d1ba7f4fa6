import { describe, expect, it } from "vitest";

import { formatAge, parseDuration } from "./duration.ts";
import { formatBinarySize, formatDecimalSize } from "./size.ts";
import { formatInstant, formatJsonTime, formatSecond } from "./time.ts";

const [SECOND, MINUTE, HOUR, DAY] = [1000, 60_000, 3_600_000, 86_400_000];

describe("sizes", () => {
  it.each([
    [0, "0.0 B", "0B"],
    [405, "405.0 B", "405B"],
    [1000, "1000.0 B", "1kB"],
    [1024, "1.0 KiB", "1.024kB"],
    [1_108_480, "1.1 MiB", "1.108MB"],
    [5 * 2 ** 30, "5.0 GiB", "5.369GB"],
    [2 ** 53, "8.0 PiB", "9.007PB"],
  ])("%d bytes are %s and %s", (bytes, binary, decimal) => {
    expect([formatBinarySize(bytes), formatDecimalSize(bytes)]).toEqual([binary, decimal]);
  });
});

describe("formatAge", () => {
  it.each([
    [0, "Less than a second"],
    [SECOND, "1 second"],
    [59 * SECOND, "59 seconds"],
    [MINUTE, "About a minute"],
    [2 * MINUTE, "2 minutes"],
    [HOUR, "About an hour"],
    [2 * HOUR, "2 hours"],
    [47 * HOUR, "47 hours"],
    [2 * DAY, "2 days"],
    [13 * DAY, "13 days"],
    [14 * DAY, "2 weeks"],
    [60 * DAY, "2 months"],
    [730 * DAY, "2 years"],
  ])("%d ms: %s", (milliseconds, expected) => {
    expect(formatAge(milliseconds)).toBe(expected);
  });
});

describe("parseDuration", () => {
  it.each([
    ["0", 0],
    ["1h30m", 90 * MINUTE],
    ["1.5s", 1500],
    ["250ms", 250],
    ["-2s", -2000],
    ["24h0m0s", DAY],
    ["", undefined],
    ["5", undefined],
    ["1d", undefined],
    ["1h 5m", undefined],
    [".s", undefined],
  ])("%j is %j", (text, expected) => {
    expect(parseDuration(text)).toBe(expected);
  });
});

describe("times", () => {
  const time = Date.UTC(2026, 10, 21, 3, 6, 16, 40);
  it("are written as Go writes them", () => {
    expect(formatSecond(time)).toBe("2026-11-21T03:06:16Z");
    expect(formatJsonTime(time)).toBe("2026-11-21T03:06:16.04Z");
    expect(formatJsonTime(time - 40)).toBe("2026-11-21T03:06:16Z");
    expect(formatJsonTime(0)).toBe("0001-01-01T00:00:00Z");
    expect(formatInstant(BigInt(time) * 1_000_000n + 5n)).toBe("2026-11-21 03:06:16.040000005 +0000 UTC");
    expect(formatInstant(BigInt(time - 40) * 1_000_000n)).toBe("2026-11-21 03:06:16 +0000 UTC");
  });
});
