// Copies an image from one registry to another: node copy-image.ts <from> <to>
import { createClient } from "@berth/client";
import { pullImage } from "@berth/client/pull";
import { pushImage } from "@berth/client/push";
import { dockerConfigCredentials, RegistryClient } from "@berth/remotes";

const [from = "", to = ""] = process.argv.slice(2);
const address = process.env["CONTAINERD_ADDRESS"] ?? "/run/berth/berth.sock";

await using client = createClient({ address });
await using registry = new RegistryClient({ credentials: dockerConfigCredentials() });

// A lease keeps what is pulled until it is pushed, whatever else becomes of the image; then the daemon may forget it.
await using lease = await client.lease();
const { name, target } = await pullImage(lease.client, registry, from, { everyPlatform: true });
await pushImage(lease.client, registry, to, {
  target,
  onPushed: ({ digest }, state) => console.log(`${digest} ${state}`),
});
await client.images.delete(name);
console.log(`${to} is ${target.digest}`);
