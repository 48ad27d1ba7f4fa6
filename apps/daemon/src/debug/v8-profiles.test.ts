import type { Profiler } from "node:inspector";
import { gunzipSync } from "node:zlib";

import { ProfileSchema } from "@berth/api/perftools/profiles/profile";
import { fromBinary } from "@bufbuild/protobuf";
import { expect, it } from "vitest";

import { cpuProfileToPprof, heapSitesToPprof } from "./v8-profiles.ts";

/** Stacks, innermost first, with their values. */
function read(bytes: Uint8Array): readonly (readonly [string, readonly number[]])[] {
  const profile = fromBinary(ProfileSchema, gunzipSync(bytes));
  const text = (index: bigint): string => profile.stringTable[Number(index)] ?? "?";
  const functions = new Map(profile.function.map((f) => [f.id, `${text(f.name)} ${text(f.filename)}:${f.startLine}`]));
  const places = new Map(profile.location.map(({ id, line }) => [id, functions.get(line[0]?.functionId ?? 0n) ?? "?"]));
  return profile.sample.map(({ locationId, value }) => [
    locationId.map((id) => places.get(id)).join(" < "),
    value.map(Number),
  ]);
}

const node = (id: number, functionName: string, children: number[], lineNumber = 0): Profiler.ProfileNode => ({
  id,
  callFrame: {
    functionName,
    scriptId: "1",
    url: functionName.startsWith("(") ? "" : "file:///a.mjs",
    lineNumber,
    columnNumber: 0,
  },
  children,
});

it("cpuProfileToPprof puts stacks together, and leaves out time without work", () => {
  const bytes = cpuProfileToPprof({
    nodes: [
      node(1, "(root)", [2, 5]),
      node(2, "outer", [3, 4], 9),
      node(3, "inner", []),
      node(4, "", []),
      node(5, "(idle)", []),
    ],
    startTime: 0,
    endTime: 60_000,
    samples: [3, 3, 5, 4, 2],
    timeDeltas: [10_000, 12_000, 30_000, 5000, 3000],
  });
  expect(read(bytes)).toEqual([
    ["inner file:///a.mjs:1 < outer file:///a.mjs:10", [2, 22_000_000]],
    ["(anonymous) file:///a.mjs:1 < outer file:///a.mjs:10", [1, 5_000_000]],
    ["outer file:///a.mjs:10", [1, 3_000_000]],
  ]);
  const { durationNanos, period } = fromBinary(ProfileSchema, gunzipSync(bytes));
  expect([durationNanos, period]).toEqual([60_000_000n, 10_000_000n]);
});

it("heapSitesToPprof writes bytes by place", () => {
  const frame = { name: "f", file: "a.mjs", line: 3 };
  expect(read(heapSitesToPprof([{ stack: [frame, { ...frame, line: 4 }], bytes: 512 }]))).toEqual([
    ["f a.mjs:3 < f a.mjs:4", [512]],
  ]);
});
