import { expect, it } from "vitest";

import { DEFAULT_RUNTIME_TIMEOUTS, runtimeTimeouts } from "./runtime-timeouts.ts";

it("limits that are not configured are containerd's", () => {
  expect(runtimeTimeouts(new Map())).toEqual(DEFAULT_RUNTIME_TIMEOUTS);
});

it.each([
  ["shim.load", 1500, "loadMs", 1500],
  ["shim.cleanup", 0.4, "cleanupMs", 1],
  ["shim.shutdown", 0, "shutdownMs", 2 ** 31 - 1],
  ["task.state", -1, "stateMs", 2 ** 31 - 1],
  ["metrics.shimstats", 1e15, "statsMs", 2 ** 31 - 1],
] as const)("%s of %d ms: %s is %d", (name, configured, key, expected) => {
  const timeouts = runtimeTimeouts(new Map([[`io.containerd.timeout.${name}`, configured]]));
  expect(timeouts).toEqual({ ...DEFAULT_RUNTIME_TIMEOUTS, [key]: expected });
});
