import fc from "fast-check";
import { expect, it } from "vitest";

import { parseCgroupFile } from "./cgroup.ts";
import { hugePageSizes, NO_LIMIT, parseCount, parseFlat, parseNested, parseRdma } from "./cgroup-files.ts";
import { parseBlkio } from "./stats-v1.ts";
import { parsePressure } from "./stats-v2.ts";

it("parseCgroupFile reads named hierarchies, joined controllers, the unified tree and colons in paths", () => {
  const text = "12:cpu,cpuacct:/a\n3:name=systemd:/b:c\n0::/d e\nnonsense\n";
  expect([...parseCgroupFile(text)]).toEqual([
    ["cpu", "/a"],
    ["cpuacct", "/a"],
    ["name=systemd", "/b:c"],
    ["", "/d e"],
  ]);
});

it.each([
  ["12\n", 12n],
  ["max\n", NO_LIMIT],
  ["18446744073709551615", NO_LIMIT],
  ["-1", 0n],
  ["", 0n],
  [undefined, 0n],
])("parseCount(%s) is %s", (text, expected) => {
  expect(parseCount(text)).toBe(expected);
});

it("the parsers of cgroup files never throw and count nothing negative", () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      parseNested(text);
      parseRdma(text);
      parsePressure(text);
      expect(parseBlkio(text).every((entry) => entry.value >= 0n)).toBe(true);
      expect([...parseFlat(text).values()].every((value) => value >= 0n)).toBe(true);
    }),
  );
});

it("parseBlkio reads entries with and without operation and leaves the sum out", () => {
  expect(
    parseBlkio("8:0 Read 4096\n8:16 7\nTotal 4103\n").map(({ op, major, minor, value }) => [op, major, minor, value]),
  ).toEqual([
    ["Read", 8n, 0n, 4096n],
    ["", 8n, 16n, 7n],
  ]);
});

it("hugePageSizes finds the sizes a cgroup has", () => {
  expect(hugePageSizes(["hugetlb.2MB.current", "hugetlb.1GB.current", "hugetlb.2MB.max"], "current")).toEqual([
    "1GB",
    "2MB",
  ]);
});
