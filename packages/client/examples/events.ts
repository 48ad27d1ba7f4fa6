// Prints what happens in a daemon, until it has seen so many events: node events.ts <count> [filter ...]
import { createClient } from "@berth/client";
import { watchEvents } from "@berth/client/watch";

const [count = "10", ...filters] = process.argv.slice(2);
const address = process.env["CONTAINERD_ADDRESS"] ?? "/run/berth/berth.sock";

await using client = createClient({ address });
let left = Number(count);
for await (const event of watchEvents(client, { filters })) {
  const when = event.time.toISOString();
  // The type says of what shape the data is.
  switch (event.type) {
    case "TaskStart":
      console.log(`${when} ${event.data.containerId} runs as ${event.data.pid}`);
      break;
    case "TaskExit":
      console.log(`${when} ${event.data.containerId} ended with ${event.data.exitStatus}`);
      break;
    case "ImageCreate":
      console.log(`${when} image ${event.data.name}`);
      break;
    default:
      console.log(`${when} ${event.namespace} ${event.topic}`);
  }
  left -= 1;
  if (left <= 0) break;
}
