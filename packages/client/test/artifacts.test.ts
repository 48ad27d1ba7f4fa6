import { writeTar } from "@berth/archive";
import type { Descriptor } from "@berth/oci";
import { hostPlatform, MediaType } from "@berth/oci";
import { RegistryClient } from "@berth/remotes";
import type { FaultRegistry, PeerDaemon } from "@berth/testing";
import { startBerthd, startContainerd, startFaultRegistry } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import type { Client } from "../src/index.ts";
import { createClient } from "../src/index.ts";
import { importImage } from "../src/import-image.ts";
import { pullImage } from "../src/pull-image.ts";
import { importInDaemon, pullInDaemon } from "../src/transfer-in-daemon.ts";

const encode = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));

describe.each([
  ["berthd", () => startBerthd()],
  ["containerd 2", () => startContainerd({ release: "2" })],
])("an artifact, which has a manifest and no files, on %s", { timeout: 60_000 }, (_name, start) => {
  const stack = new AsyncDisposableStack();
  const platform = hostPlatform();
  const unpacks = [{ platform, snapshotter: "overlayfs" }];
  let daemon: PeerDaemon;
  let client: Client;
  let registry: FaultRegistry;
  let manifest: Descriptor;
  let parts: readonly Descriptor[];

  beforeAll(async () => {
    daemon = stack.use(await start());
    client = stack.use(createClient({ address: daemon.address }));
    registry = stack.use(await startFaultRegistry());
    const config = registry.add(encode({ name: "chart" }), "application/vnd.chart.config.v1+json");
    const layer = registry.add(encode("no archive"), "application/vnd.chart.content.v1.tar+gzip");
    parts = [config, layer];
    const document = { schemaVersion: 2, mediaType: MediaType.ociManifest, config, layers: [layer] };
    manifest = registry.add(encode(document), MediaType.ociManifest);
    registry.tag("1", manifest);
  }, 60_000);

  afterAll(() => stack.disposeAsync());

  const isStoredAs = async (name: string): Promise<void> => {
    expect((await client.images.get(name)).target.digest).toBe(manifest.digest);
  };

  it("is pulled by the daemon, and not unpacked", async () => {
    const name = `${registry.host}/charts/daemon:1`;
    await pullInDaemon(client, name, { platforms: [platform], unpacks });
    await isStoredAs(name);
  });

  it.each([false, true])(
    "is pulled by a client, and not unpacked; without keeping layers: %s",
    async (discardLayers) => {
      const name = `${registry.host}/charts/client:1`;
      await using remote = new RegistryClient();
      await pullImage(client, remote, name, { unpack: { snapshotter: "overlayfs", discardLayers } });
      await isStoredAs(name);
    },
  );

  it.each(["daemon", "client"])("is imported by the %s, and not unpacked", async (by) => {
    const name = `example.org/charts/by-${by}:1`;
    const annotations = { "io.containerd.image.name": name };
    const file = (path: string, content: Uint8Array) => ({
      path,
      type: "file" as const,
      size: content.length,
      content,
    });
    const archive = writeTar([
      file("oci-layout", encode({ imageLayoutVersion: "1.0.0" })),
      file("index.json", encode({ schemaVersion: 2, manifests: [{ ...manifest, annotations }] })),
      ...[manifest, ...parts].map(({ digest }) =>
        file(`blobs/${digest.replace(":", "/")}`, registry.find(digest) ?? new Uint8Array()),
      ),
    ]);
    if (by === "client") await importImage(client, archive, { unpack: { snapshotter: "overlayfs" } });
    else await importInDaemon(client, archive, { platforms: [platform], baseName: "example.org/charts", unpacks });
    await isStoredAs(name);
  });
});
