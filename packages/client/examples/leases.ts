// Keeps content from the garbage collector, in a namespace of its own: node leases.ts
import { createHash } from "node:crypto";

import { createClient, isNotFound } from "@berth/client";
import { readBlob, writeBlob } from "@berth/core/content";
import { parseNamespace } from "@berth/core/namespaces";
import { parseDigest } from "@berth/oci";

const address = process.env["CONTAINERD_ADDRESS"] ?? "/run/berth/berth.sock";
const namespace = parseNamespace(`example-${process.pid}`);
const bytes = new TextEncoder().encode("nobody refers to me");
const digest = parseDigest(`sha256:${createHash("sha256").update(bytes).digest("hex")}`);

await using client = createClient({ address, namespace });
await client.namespaces.create(namespace, new Map([["purpose", "example"]]));
for await (const { name, labels } of client.namespaces.listRecords()) console.log(name, Object.fromEntries(labels));
{
  // What is written through the lease's client stays while the lease is there; `sync` waits for the collector in the end.
  await using lease = await client.lease({ sync: true });
  await writeBlob(lease.client.content, "example", [bytes], { digest, size: bytes.length });
  for await (const { type, id } of client.leases.listResources(lease.id)) console.log(`held: ${type} ${id}`);
  console.log(new TextDecoder().decode(await readBlob(client.content, digest, { limitBytes: 1024 })));
}
try {
  await client.content.info(digest);
  console.log("still there");
} catch (error) {
  if (!isNotFound(error)) throw error;
  console.log("collected");
}
await client.namespaces.delete(namespace);
