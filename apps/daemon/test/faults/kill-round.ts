import { setTimeout as sleep } from "node:timers/promises";

import { messageOf } from "@berth/errors";
import { countCalls, traceCalls } from "@berth/testing";

import { checkLeaks } from "./check-leaks.ts";
import { checkState } from "./check-state.ts";
import type { FaultRig } from "./fault-rig.ts";
import type { Operation } from "./operations.ts";
import { importInto } from "./operations.ts";

/** Calls that change what a crash leaves, or that wait for the disk. */
const CALLS = [
  ..."openat openat2 write writev pwrite64 pwritev fsync fdatasync syncfs msync ftruncate fallocate copy_file_range".split(
    " ",
  ),
  ..."rename renameat renameat2 mkdir mkdirat rmdir unlink unlinkat link linkat symlink symlinkat mknodat".split(" "),
  ..."chmod fchmod fchmodat fchownat utimensat lsetxattr fsetxattr mount umount2 fsmount move_mount".split(" "),
];

/** Where a daemon is killed: when a thread of it makes a call for the n-th time since the operation began, instead of making it. */
export interface KillPoint {
  readonly operation: Operation;
  readonly call: string;
  readonly count: number;
}

/** What a fault came to; no problems means that every promise was kept. */
export interface RoundOutcome {
  readonly problems: readonly string[];
  /** The operation had ended before the fault came. */
  readonly missed: boolean;
}

/** This prepares an operation: the first image is there, unpacked and acknowledged. */
export async function prepareOperation(rig: FaultRig, operation: Operation): Promise<void> {
  rig.newLedger();
  await importInto(rig, rig.images.first, 1);
  await operation.prepare?.(rig);
}

/** This says how often the busiest thread makes each call during an operation. */
export async function countOperation(rig: FaultRig, operation: Operation): Promise<ReadonlyMap<string, number>> {
  await prepareOperation(rig, operation);
  await using tracer = await traceCalls(rig.daemon.pid, { calls: CALLS });
  await operation.run(rig);
  await tracer.detach();
  const counts = countCalls(await tracer.lines());
  await checkLeaks(rig);
  return counts;
}

/** This kills the daemon at a point, starts it again, and checks everything; in the end the root is empty again. */
export async function killRound(rig: FaultRig, { operation, call, count }: KillPoint): Promise<RoundOutcome> {
  await prepareOperation(rig, operation);
  let failure: unknown;
  {
    await using tracer = await traceCalls(rig.daemon.pid, { calls: [call], inject: `signal=SIGKILL:when=${count}` });
    await operation.run(rig).catch((error: unknown) => (failure = error));
    if (failure !== undefined) await tracer.ended;
  }
  const missed = failure === undefined;
  await rig.restart();
  return { problems: await checkRecovered(rig, operation), missed };
}

/** This says how often the busiest thread makes each call while the daemon starts. */
export async function countStart(rig: FaultRig): Promise<ReadonlyMap<string, number>> {
  const lines = await rig.restartTraced({ calls: CALLS });
  return countCalls(lines ?? []);
}

/**
 * This kills the daemon a while after an operation began, and again at a point of its next start; the start after that must find everything
 * as it should be.
 */
export async function startRound(
  rig: FaultRig,
  { operation, call, count, delayMs }: KillPoint & { readonly delayMs: number },
): Promise<RoundOutcome> {
  await prepareOperation(rig, operation);
  const running = operation.run(rig);
  // It may come to its end or not.
  running.catch(() => {});
  await sleep(delayMs);
  const lines = await rig.restartTraced({ calls: [call], inject: `signal=SIGKILL:when=${count}` });
  await running.catch(() => {});
  await rig.restart();
  return { problems: await checkRecovered(rig, operation), missed: lines !== undefined };
}

/** This checks a daemon that was started after a fault, does the operation again, checks again, and looks for leaks. */
export async function checkRecovered(rig: FaultRig, operation: Operation): Promise<string[]> {
  const problems = await checkState(rig);
  try {
    await operation.run(rig);
  } catch (error) {
    problems.push(`the second try failed: ${messageOf(error)}`);
  }
  problems.push(...(await checkState(rig)).map((problem) => `after the second try: ${problem}`));
  problems.push(...(await checkLeaks(rig)).map((leak) => `left over: ${leak}`));
  return problems;
}
