import { expect, it } from "vitest";

import { ShimCycles } from "./shim-cycles.ts";

// a sample: npm run test:faults -- --only shim does thousands
const ROUNDS = 160;
const MIB = 1024 * 1024;

it("execs and short containers, failing ones among them, leave a shim as it was", { timeout: 120_000 }, async () => {
  await using cycles = await ShimCycles.open(1);
  const { before, after, grownBytes } = await cycles.run(ROUNDS);
  expect(after).toEqual(before);
  expect(grownBytes / MIB).toBeLessThan(32);
});
