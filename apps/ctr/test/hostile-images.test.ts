import type { Client } from "@berth/client";
import { createClient } from "@berth/client";
import { writeBlob } from "@berth/core/content";
import type { Descriptor } from "@berth/oci";
import { MediaType } from "@berth/oci";
import { BUSYBOX_IMAGE, sha256 } from "@berth/testing";
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

it("an image that is none is listed with the others", { timeout: 120_000 }, async () => {
  await using bench = await startBench("berthd");
  await using client = createClient({ address: bench.daemon.address });
  const bytes = new TextEncoder().encode("no JSON");
  const target = { mediaType: MediaType.ociIndex, digest: sha256(bytes), size: bytes.length };
  await client.withLease(async (leased) => {
    await writeBlob(leased.content, target.digest, [bytes], target);
    for (const name of ["example.org/a:1", "example.org/b:1"])
      await leased.images.create({ name, target, labels: new Map() });
    // Of this one nothing is here.
    const absent = { ...target, digest: sha256(Buffer.from("absent")) };
    await leased.images.create({ name: "example.org/c:1", target: absent, labels: new Map() });
  });
  const { code, stdout, stderr } = await bench.ctr(["images", "ls"]);
  expect(code).toBe(0);
  const rows = stdout.split("\n").map((line) => line.split(/\s+/));
  expect(rows.slice(1, -1).map(([name, , , size, platforms]) => [name, size, platforms])).toEqual([
    ["example.org/a:1", "-", "-"],
    ["example.org/b:1", "-", "-"],
    [BUSYBOX_IMAGE, "1.1", "MiB"],
    ["example.org/c:1", "7.0", "B"],
  ]);
  expect(stderr.match(/image example\.org\/.:1/g)).toEqual(["image example.org/a:1", "image example.org/b:1"]);
});
