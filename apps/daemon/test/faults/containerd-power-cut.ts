// The same power cuts under Debian's containerd as it comes: npm run test:faults -- --containerd. It shows what there is to lose,
// and asserts nothing.
import { setTimeout as sleep } from "node:timers/promises";

import { checkState } from "./check-state.ts";
import { faultDisk } from "./fault-disk.ts";
import { FaultRig, smallImages } from "./fault-rig.ts";
import { prepareOperation } from "./kill-round.ts";
import { operationNamed } from "./operations.ts";

const images = await smallImages();

/** This counts what is wrong after a power cut some time after an import was acknowledged. */
async function cutPower(type: "ext4" | "xfs", delayMs: number): Promise<string> {
  await using disk = await faultDisk({ type });
  await using rig = await FaultRig.start({ disk, images, peer: "containerd" });
  const operation = operationNamed("import by ctr");
  await prepareOperation(rig, operation);
  await operation.run(rig);
  await sleep(delayMs);
  disk.cutPower("nothing");
  try {
    await rig.restart({ powerCut: true });
  } catch (error) {
    return `the daemon does not start: ${String(error)}`;
  }
  const problems = await checkState(rig);
  return `${problems.length} problems${problems.length > 0 ? `, the first: ${problems[0]}` : ""}`;
}

for (const type of ["ext4", "xfs"] as const) {
  for (const delayMs of [0, 1000, 3000, 6000]) {
    console.log(`${type}, ${delayMs} ms after the acknowledgement: ${await cutPower(type, delayMs)}`);
  }
}
