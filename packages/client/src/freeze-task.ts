import type { CallOptions } from "@berth/core/any";
import { isNotFound } from "@berth/errors";

import type { RemoteTask } from "./tasks-client.ts";

/**
 * This freezes a task until `frozen` is disposed: only what runs, so that who has paused it himself finds it paused. No task is no failure.
 *
 * @throws as the runtime: the task runs on then
 */
export async function freezeTask(
  task: RemoteTask,
  frozen: AsyncDisposableStack,
  { signal }: CallOptions,
): Promise<void> {
  try {
    if ((await task.state({ signal })).status !== "running") return;
  } catch (error) {
    if (isNotFound(error)) return;
    throw error;
  }
  try {
    await task.pause({ signal });
  } catch (error) {
    // It may have been frozen all the same; what is told is why it was not.
    await thaw(task).catch(() => {});
    throw error;
  }
  frozen.defer(() => thaw(task));
}

/** Without the caller's signal: nothing may stay frozen. What has ended, or runs on already, is not. */
async function thaw(task: RemoteTask): Promise<void> {
  try {
    await task.resume();
  } catch (error) {
    // Not by the code: old shims have none of their own for it.
    if (await isFrozen(task)) throw error;
  }
}

async function isFrozen(task: RemoteTask): Promise<boolean> {
  try {
    const { status } = await task.state();
    return status === "paused" || status === "pausing";
  } catch (error) {
    if (isNotFound(error)) return false;
    throw error;
  }
}
