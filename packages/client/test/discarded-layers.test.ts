import { setTimeout as sleep } from "node:timers/promises";

import { isNotFound } from "@berth/errors";
import type { Digest } from "@berth/oci";
import { chainIds, hostPlatform } from "@berth/oci";
import { RegistryClient } from "@berth/remotes";
import type { BuiltImage, FaultRegistry } from "@berth/testing";
import { buildImage, seededRandom, startBerthd, startContainerd, startFaultRegistry } from "@berth/testing";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

import type { Client } from "../src/index.ts";
import { createClient } from "../src/index.ts";
import { pullImage } from "../src/pull-image.ts";
import { pullInDaemon } from "../src/transfer-in-daemon.ts";

const CONFIG = '[plugins."io.containerd.transfer.v1.local"]\ndiscard_unpacked_layers = true\n';
type Pull = (client: Client, name: string) => Promise<unknown>;

const inDaemon: Pull = async (client, name) => {
  const platform = hostPlatform();
  await pullInDaemon(client, name, { platforms: [platform], unpacks: [{ platform, snapshotter: "overlayfs" }] });
};

const byClient: Pull = async (client, name) => {
  await using registry = new RegistryClient();
  await pullImage(client, registry, name, { unpack: { snapshotter: "overlayfs", discardLayers: true } });
};

describe.each([
  ["by a daemon that is configured so", () => startBerthd({ config: CONFIG }), inDaemon],
  ["by a client of berthd", () => startBerthd(), byClient],
  ["by a client of containerd", () => startContainerd(), byClient],
])("an image that is pulled without keeping its layers, %s", { timeout: 90_000 }, (_who, start, pull) => {
  let stack: AsyncDisposableStack;
  let client: Client;
  let registry: FaultRegistry;
  let image: BuiltImage;
  let name: string;

  beforeEach(async () => {
    stack = new AsyncDisposableStack();
    const daemon = stack.use(await start());
    client = stack.use(createClient({ address: daemon.address }));
    registry = stack.use(await startFaultRegistry());
    const random = seededRandom(5);
    const layer = (path: string) => [{ path, type: "file" as const, size: 9000, content: random.bytes(9000) }];
    image = await buildImage({ name: "x:1", layers: ["a", "b", "c"].map(layer) });
    for (const { digest, mediaType } of [...image.layers, image.config, image.manifest])
      registry.add(image.blobs.get(digest) ?? new Uint8Array(), mediaType);
    registry.tag("1", image.manifest);
    name = `${registry.host}/team/app:1`;
  });

  afterEach(() => stack.disposeAsync());

  const isHere = async (digest: Digest): Promise<boolean> => {
    try {
      await client.content.info(digest);
      return true;
    } catch (error) {
      if (isNotFound(error)) return false;
      throw error;
    }
  };
  const layersHere = async (): Promise<number> =>
    (await Promise.all(image.layers.map(({ digest }) => isHere(digest)))).filter(Boolean).length;
  const fetched = (): number =>
    registry.requests.filter(({ path }) => image.layers.some(({ digest }) => path.endsWith(digest))).length;

  it("is unpacked, and they are collected; pulled again it needs none of them", async () => {
    await pull(client, name);
    // The collector comes by itself, soon.
    while ((await layersHere()) > 0) await sleep(50);
    expect(await isHere(image.config.digest)).toBe(true);
    const top = chainIds(image.diffIds).at(-1) ?? "";
    expect(await client.snapshotter("overlayfs").stat(top)).toMatchObject({ kind: "committed" });
    expect(fetched()).toBe(3);
    await pull(client, name);
    expect(fetched()).toBe(3);
    expect((await client.images.get(name)).target.digest).toBe(image.manifest.digest);
    // What is not unpacked any more is fetched and unpacked again.
    await client.images.delete(name, { sync: true });
    await pull(client, name);
    expect(await client.snapshotter("overlayfs").stat(top)).toMatchObject({ kind: "committed" });
    expect(fetched()).toBe(6);
  });
});
