import { rmdir, stat, unlink } from "node:fs/promises";
import { dirname } from "node:path";

import type { Client, RemoteTask } from "@berth/client";
import type { CallOptions } from "@berth/core/any";
import type { ProcessState } from "@berth/core/runtime";
import { ignoreNotFound, isFailedPrecondition, isNotFound } from "@berth/errors";

import { detachNetwork, findNetwork } from "./container-network.ts";

const SIGKILL = 9;

/** How a process is deleted. */
export interface DeleteTaskOptions extends CallOptions {
  /** Kill it first. */
  readonly force: boolean;
  /** This exec instead of the task. */
  readonly execId?: string;
}

/**
 * This deletes a task or an exec, with the pipes that were left for it and the network that CNI made, and returns its exit code.
 *
 * @throws not_found; failed_precondition - it still runs
 */
export async function deleteTask(client: Client, id: string, options: DeleteTaskOptions): Promise<number> {
  const { execId = "", force, signal } = options;
  const task = client.tasks.task(id);
  const state = await task.state({ execId, signal });
  // Held before the process ends, and its namespace with it. The number of one that has ended may be another's by now.
  const pid = state.status === "stopped" ? 0 : state.pid;
  const network = execId === "" ? await findNetwork(client, id, { pid, signal }) : undefined;
  await using held = new AsyncDisposableStack();
  held.defer(() => network?.keep());
  if (force && state.status !== "stopped") await killAndWait(task, { execId, signal });
  const { exitStatus } = execId === "" ? await task.delete({ signal }) : await task.deleteProcess(execId, { signal });
  await detachNetwork(network, { signal });
  await removePipes(state);
  return exitStatus;
}

async function killAndWait(
  task: RemoteTask,
  options: { execId: string; signal: AbortSignal | undefined },
): Promise<void> {
  try {
    await task.kill({ ...options, signalNumber: SIGKILL, all: options.execId === "" });
  } catch (error) {
    // A task that was never started has nothing to kill; its deletion ends it.
    if (isNotFound(error) || isFailedPrecondition(error)) return;
    throw error;
  }
  await task.wait(options);
}

/** Only pipes, and only directories that are then empty: the paths come from whoever made the task. */
async function removePipes({ stdin, stdout, stderr }: ProcessState): Promise<void> {
  const directories = new Set<string>();
  for (const path of [stdin, stdout, stderr]) {
    if (!path.startsWith("/")) continue;
    if ((await stat(path).catch(ignoreNotFound))?.isFIFO() !== true) continue;
    await unlink(path).catch(ignoreNotFound);
    directories.add(dirname(path));
  }
  for (const directory of directories) await rmdir(directory).catch(() => {});
}
