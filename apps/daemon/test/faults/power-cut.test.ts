import { describe, expect, it } from "vitest";

import { checkState } from "./check-state.ts";
import { faultDisk } from "./fault-disk.ts";
import { FaultRig } from "./fault-rig.ts";
import { prepareOperation } from "./kill-round.ts";
import { operationNamed } from "./operations.ts";
import { powerRound } from "./power-round.ts";

// A sample of what `npm run test:faults` draws at random.
describe("a power cut", { timeout: 120_000 }, () => {
  it.each([
    ["ext4", 0],
    ["xfs", 300],
  ] as const)(
    "of a root on %s, %i ms after an acknowledgement, leaves every acknowledged byte, and a daemon that goes on",
    async (type, delayMs) => {
      await using disk = await faultDisk({ type });
      await using rig = await FaultRig.start({ disk });
      const operation = operationNamed("import and unpack layers together");
      const cut = { operation, from: "acknowledged", delayMs, mode: "nothing" } as const;
      expect(await powerRound(rig, cut)).toEqual({ problems: [], missed: false });
    },
  );

  it("in the middle of an unpack leaves nothing half-made", async () => {
    await using disk = await faultDisk({ type: "ext4" });
    await using rig = await FaultRig.start({ disk });
    const operation = operationNamed("unpack");
    expect((await powerRound(rig, { operation, from: "begun", delayMs: 40, mode: "journal" })).problems).toEqual([]);
  });

  it("would be noticed: without sync_fs files of an acknowledged layer are gone or empty", async () => {
    await using disk = await faultDisk({ type: "ext4" });
    const config = '[plugins."io.containerd.snapshotter.v1.overlayfs"]\n  sync_fs = false\n';
    await using rig = await FaultRig.start({ disk, config });
    const unpack = operationNamed("import and unpack layers together");
    await prepareOperation(rig, unpack);
    await unpack.run(rig);
    disk.cutPower("nothing");
    await rig.restart({ powerCut: true });
    expect((await checkState(rig)).filter((problem) => problem.startsWith("snapshot "))).not.toEqual([]);
  });
});
