// Makes an image of what a container did to its files: node build-image.ts <base image> <new name>
import { createClient } from "@berth/client";
import { commitContainer } from "@berth/client/commit";
import { spawn } from "@berth/client/run";

const [base = "docker.io/library/alpine:latest", name = "example.org/built:latest"] = process.argv.slice(2);
const address = process.env["CONTAINERD_ADDRESS"] ?? "/run/berth/berth.sock";
const id = `example-${process.pid}`;

await using client = createClient({ address });
{
  await using builder = await spawn(client, { id, image: base, args: ["sh", "-c", "echo built >/hello"] });
  const status = await builder.finish();
  if (status !== 0) throw new Error(`the build ended with ${status}`);
  // The container and its snapshot are there until the block is left.
  const { target } = await commitContainer(client, id, name);
  console.log(`${name} is ${target.digest}`);
}
await using container = await spawn(client, { id, image: name, args: ["cat", "/hello"] });
console.log((await container.text()).trim());
await container.finish();
