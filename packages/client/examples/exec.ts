// Runs a second process in a container, feeds it and reads what it says: node exec.ts <image>
import { createClient } from "@berth/client";
import { spawn, spawnExec } from "@berth/client/run";

const [image = "docker.io/library/alpine:latest"] = process.argv.slice(2);
const address = process.env["CONTAINERD_ADDRESS"] ?? "/run/berth/berth.sock";
const id = `example-${process.pid}`;

await using client = createClient({ address });
await using container = await spawn(client, { id, image, args: ["sleep", "1000"] });

await using sorter = await spawnExec(client, id, {
  execId: "sorter",
  args: ["sh", "-c", "echo $GREETING >&2; sort"],
  env: ["GREETING=send me lines"],
  stdin: true,
});
for (const line of ["pear\n", "apple\n"]) await sorter.write(line);
await sorter.closeStdin();
for await (const { stream, text } of sorter.lines()) console.log(`${stream}: ${text}`);
console.log(`sort ended with ${await sorter.finish()}`);

await container.kill("SIGKILL");
console.log(`the container ended with ${await container.finish()}`);
