import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { FaultRig } from "./fault-rig.ts";
import { faultDisk } from "./fault-disk.ts";
import { killRound, startRound } from "./kill-round.ts";
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

  it.each([
    // Between the lock of the root and the first database.
    ["import", "mkdir", 3],
    // A database is being opened.
    ["delete and collect", "pwrite64", 1],
    // The overlayfs snapshotter finds out what its file system can.
    ["unpack", "rename", 1],
  ])("killed during %s, and again at %s number %i of the next start", async (name, call, count) => {
    const outcome = await startRound(rig, { operation: operationNamed(name), call, count, delayMs: 40 });
    expect(outcome.problems).toEqual([]);
  });
});

describe.each(["blockfile", "erofs", "btrfs"])(
  "a daemon with the snapshotter %s, killed",
  { timeout: 120_000 },
  (snapshotter) => {
    const stack = new AsyncDisposableStack();
    let rig: FaultRig;
    beforeAll(async () => {
      const disk = snapshotter === "btrfs" ? stack.use(await faultDisk({ type: "btrfs" })) : undefined;
      rig = stack.use(await FaultRig.start({ snapshotter, ...(disk && { disk }) }));
    }, 60_000);
    afterAll(() => stack.disposeAsync());

    it.each([
      ["import and unpack layers together", "fdatasync", 4],
      ["commit", "fdatasync", 1],
    ])("during %s, %s number %i", async (name, call, count) => {
      const outcome = await killRound(rig, { operation: operationNamed(name), call, count });
      expect(outcome.problems).toEqual([]);
    });

    it("during an unpacking, and again while it starts", async () => {
      const operation = operationNamed("unpack");
      const outcome = await startRound(rig, { operation, call: "openat", count: 60, delayMs: 60 });
      expect(outcome.problems).toEqual([]);
    });
  },
);
