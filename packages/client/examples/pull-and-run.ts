// Pulls an image and runs a command in a container of it: node pull-and-run.ts <image> [command ...]
import { createClient } from "@berth/client";
import { pullImage } from "@berth/client/pull";
import { spawn } from "@berth/client/run";
import { dockerConfigCredentials, RegistryClient } from "@berth/remotes";

const [image = "docker.io/library/alpine:latest", ...args] = process.argv.slice(2);
const address = process.env["CONTAINERD_ADDRESS"] ?? "/run/berth/berth.sock";

await using client = createClient({ address });
await using registry = new RegistryClient({ credentials: dockerConfigCredentials() });

const { target } = await pullImage(client, registry, image, {
  unpack: { snapshotter: "overlayfs" },
  onStored: ({ digest, size }) => console.log(`${digest} ${size} bytes`),
});
console.log(`${image} is ${target.digest}`);

// Whatever happens from here on, the container is gone when this block is left.
await using container = await spawn(client, { id: `example-${process.pid}`, image, args });
for await (const { stream, text } of container.lines()) console.log(`${stream}: ${text}`);
process.exitCode = await container.finish();
