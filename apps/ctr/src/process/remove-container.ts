import type { Client } from "@berth/client";
import { removeContainer } from "@berth/client/run";
import type { CallOptions } from "@berth/core/any";
import { failedPrecondition, isNotFound } from "@berth/errors";

import { detachNetwork, findNetwork } from "./container-network.ts";
import { deleteTask } from "./delete-task.ts";

/**
 * This removes a container, its snapshot, the network that CNI made for it, and a task that does not run.
 *
 * @throws not_found - no such container; failed_precondition - its task runs
 */
export async function removeContainerAndTask(
  client: Client,
  id: string,
  options: CallOptions & { readonly keepSnapshot: boolean },
): Promise<void> {
  await client.containers.get(id, options);
  const state = await findTask(client, id, options);
  if (state !== undefined) {
    if (state.status !== "stopped" && state.status !== "created") {
      throw failedPrecondition(
        `cannot delete container ${id}: its task is ${state.status}; end it with ctr tasks kill ${id}`,
      );
    }
    await deleteTask(client, id, { ...options, force: false });
  } else {
    // Of a task that went without this program.
    await detachNetwork(await findNetwork(client, id, options), options);
  }
  await removeContainer(client, id, options);
}

/** This asks for a container's task, and returns nothing where there is none. */
async function findTask(client: Client, id: string, options: CallOptions) {
  try {
    return await client.tasks.get(id, options);
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}
