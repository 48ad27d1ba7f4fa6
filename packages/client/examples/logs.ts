// Has a container write to a file and follows it: node logs.ts <image> <file>
import { createClient } from "@berth/client";
import { createContainer, logIo, readLog, removeContainer, startTask } from "@berth/client/run";

const [image = "docker.io/library/alpine:latest", file = "/tmp/example.log"] = process.argv.slice(2);
const address = process.env["CONTAINERD_ADDRESS"] ?? "/run/berth/berth.sock";
const id = `example-${process.pid}`;

await using client = createClient({ address });
await using cleanup = new AsyncDisposableStack();

const container = await createContainer(client, {
  id,
  image,
  args: ["sh", "-c", "for i in 1 2 3; do echo line $i; sleep 0.2; done; echo oops >&2; sleep 0.2"],
});
cleanup.defer(() => removeContainer(client, id));
// Nobody has to read along: this program may end, and another one read the file.
await using task = await startTask(client, container, { io: logIo(file) });

for await (const line of readLog(client, id, { follow: true })) console.log(line);
console.log(`ended with ${await task.finish()}`);
