// Keeps a container running: starts it again whenever it ends, so many times: node watch-exits.ts <image> <times>
import { createClient } from "@berth/client";
import { createContainer, nullIo, removeContainer, startTask } from "@berth/client/run";
import { watchEvents } from "@berth/client/watch";

const [image = "docker.io/library/alpine:latest", times = "3"] = process.argv.slice(2);
const address = process.env["CONTAINERD_ADDRESS"] ?? "/run/berth/berth.sock";
const id = `example-${process.pid}`;

await using client = createClient({ address });
await using cleanup = new AsyncDisposableStack();

const container = await createContainer(client, { id, image, args: ["sh", "-c", "sleep 1; exit 7"] });
cleanup.defer(() => removeContainer(client, id));

// Asked for before the first start, so that no exit is missed.
await using exits = watchEvents(client, { filters: [`topic=="/tasks/exit",event.container_id=="${id}"`] });
for (let start = 1; start <= Number(times); start += 1) {
  // Should anything fail, the task does not outlive it.
  await using task = await startTask(client, container, { io: nullIo });
  const { value: event } = await exits.next();
  if (event?.type === "TaskExit") console.log(`pid ${event.data.pid} ended with ${event.data.exitStatus}`);
  await task.finish();
}
