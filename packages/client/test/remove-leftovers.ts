import type { Client } from "../src/index.ts";
import { removeContainer } from "../src/run.ts";

/** This removes what a test that failed has left running, so that it does not outlive the daemon and the other tests do not find it. */
export async function removeLeftovers(client: Client): Promise<void> {
  const signal = AbortSignal.timeout(10_000);
  for await (const { id } of client.tasks.list({ signal })) {
    const task = client.tasks.task(id);
    await task.kill({ signalNumber: 9, all: true, signal }).catch(() => {});
    await task.wait({ signal }).catch(() => {});
    await task.delete({ signal }).catch(() => {});
  }
  for await (const { id } of client.containers.list({ signal })) await removeContainer(client, id).catch(() => {});
}
