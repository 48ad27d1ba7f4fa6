import type { Logger } from "@berth/core/log";
import { isServerClosing } from "@berth/ttrpc";

import { cleanUpDeadShim } from "./dead-shim.ts";
import type { LocalShimManager } from "./shim-manager.ts";
import type { ShimTask } from "./shim-task.ts";

/** Undo of a failed create, and everything else nobody waits for, gets this long. */
export function cleanupBudget({ timeouts }: LocalShimManager): { readonly signal: AbortSignal } {
  return { signal: AbortSignal.timeout(timeouts.cleanupMs) };
}

/**
 * A create failed: whatever the shim has made of it goes away, and with it a shim that has nothing else. It returns whether the shim of a
 * pool has ended, or is about to and took nothing more, and nothing is left of what it did. Any other error is the answer of a shim that lives.
 */
export async function abandonTask(
  shims: LocalShimManager,
  task: ShimTask,
  error: unknown,
  log: Logger,
): Promise<boolean> {
  const { bundle, binary, connection } = task;
  task.isRemoved = true;
  if (!connection.isClosed) await takeBack(shims, task, log);
  const isPooled = binary !== undefined && shims.isPooled(binary);
  const isPoolsEnd = isPooled && (connection.isClosed || isServerClosing(error));
  if (!connection.isClosed && !isPoolsEnd) return false;
  const { isRemoved } = await cleanUpDeadShim(shims, { bundle, binary }, log);
  return isRemoved && isPoolsEnd;
}

/** A shim that lives removes by itself what it has made. */
async function takeBack(shims: LocalShimManager, task: ShimTask, log: Logger): Promise<void> {
  const budget = cleanupBudget(shims);
  try {
    await task.deleteProcess("", budget);
  } catch (error) {
    log.debug("delete of a task that could not be created", { id: task.id, error });
  }
  await task.shutdown({ ...budget, timeoutMs: shims.timeouts.shutdownMs }).catch(() => {});
}
