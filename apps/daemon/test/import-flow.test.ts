import { stat } from "node:fs/promises";
import { join } from "node:path";

import { writeTar } from "@berth/archive";
import { ImageStoreSchema } from "@berth/api/containerd/types/transfer/imagestore";
import { ImageImportStreamSchema } from "@berth/api/containerd/types/transfer/importexport";
import type { Client } from "@berth/client";
import { createClient } from "@berth/client";
import { codeName, codeOf } from "@berth/errors";
import { hostPlatform } from "@berth/oci";
import type { BuiltImage, PeerDaemon } from "@berth/testing";
import { buildImage, startBerthd } from "@berth/testing";
import { sendBytes } from "@berth/transfer";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { openStream, pack, transfer } from "./transfer-client.ts";

const { os, architecture } = hostPlatform();
const PLATFORM = { os, architecture };
const LAYER_BYTES = 6_000_000;

/** Bytes that do not compress. */
function noise(size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  for (let at = 0, state = 1; at < size; at += 1) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    bytes[at] = state >>> 16;
  }
  return bytes;
}

/** The archive of an image with its layer behind what describes it; the layer's blob may be another one. */
async function layerLast(image: BuiltImage, layerBytes?: Uint8Array): Promise<Uint8Array> {
  const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
  const annotations = { "io.containerd.image.name": image.name };
  const files = new Map<string, Uint8Array>([
    ["oci-layout", json({ imageLayoutVersion: "1.0.0" })],
    ["index.json", json({ schemaVersion: 2, manifests: [{ ...image.manifest, annotations, platform: PLATFORM }] })],
  ]);
  const [layer] = image.layers;
  for (const digest of [image.manifest.digest, image.config.digest, layer?.digest ?? image.config.digest]) {
    const stored = image.blobs.get(digest) ?? new Uint8Array();
    files.set(`blobs/${digest.replace(":", "/")}`, digest === layer?.digest ? (layerBytes ?? stored) : stored);
  }
  const entries = [...files].map(([path, content]) => ({
    path,
    type: "file" as const,
    size: content.length,
    content,
  }));
  return Buffer.concat(await Array.fromAsync(writeTar(entries)));
}

describe("import over a stream", { timeout: 60_000 }, () => {
  const stack = new AsyncDisposableStack();
  let client: Client;
  let image: BuiltImage;

  const codeThrown = (work: Promise<unknown>): Promise<string> =>
    work.then(
      () => "ok",
      (error: unknown) => codeName(codeOf(error)),
    );
  const importFrom = async (chunks: AsyncIterable<Uint8Array>, options: { signal?: AbortSignal } = {}) => {
    const incoming = await openStream(client.transport);
    void sendBytes(incoming, chunks, {})
      .catch(() => {})
      .finally(() => incoming.close());
    const destination = pack(ImageStoreSchema, {
      platforms: [PLATFORM],
      unpacks: [{ platform: PLATFORM, snapshotter: "overlayfs" }],
      extraReferences: [{ name: "import", isPrefix: true, allowOverwrite: true }],
    });
    return transfer(client.transport, pack(ImageImportStreamSchema, { stream: incoming.id }), destination, options);
  };
  const snapshots = async (): Promise<readonly string[]> =>
    (await Array.fromAsync(client.snapshotter("overlayfs").list())).map(({ name }) => name);
  const extracted = async (): Promise<number> => {
    const key = (await snapshots()).find((name) => name.startsWith("extract-"));
    if (key === undefined) return 0;
    const [mount] = await client.snapshotter("overlayfs").mounts(key);
    return (await stat(join(mount?.source ?? "", "file")).catch(() => undefined))?.size ?? 0;
  };

  beforeAll(async () => {
    const daemon: PeerDaemon = stack.use(await startBerthd());
    client = stack.use(createClient({ address: daemon.address }));
    image = await buildImage({
      name: "example.org/flow:1",
      layers: [[{ path: "file", type: "file", size: LAYER_BYTES, content: noise(LAYER_BYTES) }]],
    });
  }, 60_000);
  afterAll(() => stack.disposeAsync());

  it("unpacks a layer while it comes, and leaves nothing when the client goes away", async () => {
    const archive = await layerLast(image);
    const leaving = new AbortController();
    const stalled = Promise.withResolvers<void>();
    async function* chunks(): AsyncGenerator<Uint8Array> {
      yield archive.subarray(0, LAYER_BYTES - 1_000_000);
      await stalled.promise;
    }
    const importing = codeThrown(importFrom(chunks(), { signal: leaving.signal }));
    await expect.poll(extracted, { timeout: 20_000 }).toBeGreaterThan(1_000_000);
    expect(await snapshots()).not.toContain(image.diffIds[0]);
    leaving.abort();
    expect(await importing).toBe("canceled");
    stalled.resolve();
    await expect.poll(snapshots, { timeout: 20_000 }).toEqual([]);
  });

  it("does not commit a layer whose bytes are not those of its digest, although what is in it is right", async () => {
    const [layer] = image.layers;
    const stored = layer && image.blobs.get(layer.digest);
    const padded = new Uint8Array(LAYER_BYTES * 2);
    // gzip takes no notice of zeros behind it.
    padded.set(stored ?? []);
    const archive = await layerLast(image, padded.subarray(0, (stored?.length ?? 0) + 1000));
    async function* chunks(): AsyncGenerator<Uint8Array> {
      yield archive;
    }
    expect(await codeThrown(importFrom(chunks()))).toBe("failed_precondition");
    await expect.poll(snapshots, { timeout: 20_000 }).toEqual([]);
    expect(await codeThrown(client.images.get(image.name))).toBe("not_found");
  });

  it.each(["the layer last", "the layer first"])("imports an archive with %s", async (order) => {
    const archive = order === "the layer last" ? await layerLast(image) : image.archive;
    async function* chunks(): AsyncGenerator<Uint8Array> {
      for (let at = 0; at < archive.length; at += 300_000) yield archive.subarray(at, at + 300_000);
    }
    await importFrom(chunks());
    expect((await client.images.get(image.name)).target.digest).toBe(image.manifest.digest);
    expect(await snapshots()).toEqual([image.diffIds[0]]);
    await client.images.delete(image.name, { sync: true });
    await expect.poll(snapshots, { timeout: 20_000 }).toEqual([]);
  });
});
