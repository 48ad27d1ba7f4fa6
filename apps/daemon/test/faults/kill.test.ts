import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { FaultRig } from "./fault-rig.ts";
import { killRound } from "./kill-round.ts";
import { operationNamed } from "./operations.ts";

// A sample of what `npm run test:faults` draws at random.
describe("a daemon killed at a system call", { timeout: 120_000 }, () => {
  let rig: FaultRig;
  beforeAll(async () => void (rig = await FaultRig.start()));
  afterAll(() => rig[Symbol.asyncDispose]());

  it.each([
    // The bytes of a blob are written and not on disk.
    ["import", "fsync", 1],
    ["import and unpack layers together", "syncfs", 1],
    ["unpack", "rename", 2],
    // The snapshotter has committed, the metadata has no record of it.
    ["commit", "fdatasync", 2],
    ["delete and collect", "unlinkat", 20],
  ])(
    "during %s, %s number %i: all that was acknowledged is there, nothing half-made, and nothing is left over",
    async (name, call, count) => {
      const outcome = await killRound(rig, { operation: operationNamed(name), call, count });
      expect(outcome.problems).toEqual([]);
    },
  );
});
