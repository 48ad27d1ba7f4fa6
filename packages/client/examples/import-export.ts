// Writes an image to a file, and reads it back in another namespace: node import-export.ts <image> <file>
import { createReadStream, createWriteStream } from "node:fs";
import { pipeline } from "node:stream/promises";

import { createClient } from "@berth/client";
import { exportImages } from "@berth/client/export";
import { importImage } from "@berth/client/import";

const [image = "docker.io/library/alpine:latest", file = "/tmp/example.tar"] = process.argv.slice(2);
const address = process.env["CONTAINERD_ADDRESS"] ?? "/run/berth/berth.sock";
// Cancels whatever is under way; nothing half-done stays.
const signal = AbortSignal.timeout(60_000);

await using client = createClient({ address });
await pipeline(exportImages(client, [image], { signal }), createWriteStream(file), { signal });

const other = client.scoped({ namespace: "imported" });
const { images } = await importImage(other, createReadStream(file), { unpack: { snapshotter: "overlayfs" }, signal });
for (const { name, target } of images) console.log(`${name} ${target.digest}`);

for await (const { digest, size } of other.content.list({ signal })) console.log(`  ${digest} ${size} bytes`);
await other.images.delete(image, { sync: true, signal });
