import { setTimeout as sleep } from "node:timers/promises";

import type { ShutdownMode } from "@berth/linux/files";

import type { FaultRig } from "./fault-rig.ts";
import type { RoundOutcome } from "./kill-round.ts";
import { checkRecovered, prepareOperation } from "./kill-round.ts";
import type { Operation } from "./operations.ts";

/** When the power goes. */
export interface PowerCut {
  readonly operation: Operation;
  /** Counted from the end of the operation, or from its begin. */
  readonly from: "acknowledged" | "begun";
  readonly delayMs: number;
  /** Whether the journal still gets to the disk; it does not matter to what was acknowledged. */
  readonly mode: ShutdownMode;
}

/** This cuts the power of the disk under a rig during or after an operation, brings it back, and checks everything. */
export async function powerRound(rig: FaultRig, cut: PowerCut): Promise<RoundOutcome> {
  const { operation, from, delayMs, mode } = cut;
  await prepareOperation(rig, operation);
  let ended = false;
  const running = operation.run(rig).finally(() => (ended = true));
  // Looked at below; until then it may fail unseen.
  running.catch(() => {});
  if (from === "acknowledged") await running;
  await sleep(delayMs);
  const missed = from === "begun" && ended;
  rig.disk?.cutPower(mode);
  await rig.restart({ powerCut: true });
  await running.catch(() => {});
  return { problems: await checkRecovered(rig, operation), missed };
}
