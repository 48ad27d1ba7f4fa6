import type { Client } from "@berth/client";
import { createClient } from "@berth/client";
import { writeBlob } from "@berth/core/content";
import type { Descriptor } from "@berth/oci";
import { MediaType } from "@berth/oci";
import { sha256 } from "@berth/testing";
import { expect, it } from "vitest";

import { startBench } from "./peers.ts";

it("the tree of an image has an end, whatever its indexes name", { timeout: 120_000 }, async () => {
  await using bench = await startBench("berthd");
  await using client = createClient({ address: bench.daemon.address });
  const put = async (leased: Client, part: Descriptor): Promise<Descriptor> => {
    const manifests = Array.from({ length: 101 }, () => part);
    const bytes = new TextEncoder().encode(
      JSON.stringify({ schemaVersion: 2, mediaType: MediaType.ociIndex, manifests }),
    );
    const descriptor = { mediaType: MediaType.ociIndex, digest: sha256(bytes), size: bytes.length };
    // Else it is garbage before the image is there.
    const labels = new Map([["containerd.io/gc.ref.content.0", part.digest]]);
    await writeBlob(leased.content, descriptor.digest, [bytes], descriptor, { labels });
    return descriptor;
  };
  const absent = { mediaType: MediaType.ociManifest, digest: sha256(Buffer.from("absent")), size: 6 };
  const name = "example.org/wide:1";
  await client.withLease(async (leased) => {
    const target = await put(leased, await put(leased, absent));
    await leased.images.create({ name, target, labels: new Map() });
  });
  const { code, stdout, stderr } = await bench.ctr(["images", "inspect", name], { timeoutMs: 60_000 });
  expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining("10000 parts") });
  expect(stdout.split("\n").filter((line) => line.includes("sha256:")).length).toBe(10_001);
});
