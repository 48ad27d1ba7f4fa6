import { expect, it } from "vitest";

import { leaksBetween } from "./daemon-holdings.ts";
import { TaskCycles } from "./task-cycles.ts";

// a sample: npm run test:faults -- --only tasks does a thousand
const ROUNDS = 90;
const MIB = 1024 * 1024;

it(
  "containers and execs, failing ones among them, leave daemon and shims as they were",
  { timeout: 180_000 },
  async () => {
    await using cycles = await TaskCycles.open(1);
    const { before, after, grownBytes } = await cycles.run(ROUNDS);
    expect(leaksBetween(before, after)).toEqual({});
    expect(grownBytes / MIB).toBeLessThan(64);
  },
);
