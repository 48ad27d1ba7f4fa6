import type { Namespace } from "@berth/core/namespaces";
import { parseNamespace } from "@berth/core/namespaces";
import type { UnpackTarget } from "@berth/core/transfer";
import type { Descriptor, Platform } from "@berth/oci";
import { MediaType } from "@berth/oci";
import type { FaultRegistry } from "@berth/testing";
import { sha256, startFaultRegistry } from "@berth/testing";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

import type { LocalTransferOptions } from "../src/transfer-options.ts";
import type { MemoryTransfer } from "./memory-transfer.ts";
import { createMemoryTransfer } from "./memory-transfer.ts";

const encode = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));
const platformOf = (architecture: string): Platform => ({ os: "linux", architecture });

describe("a pull", () => {
  let registry: FaultRegistry;
  let memory: MemoryTransfer;
  let blobs: Uint8Array[];

  beforeEach(async () => {
    registry = await startFaultRegistry();
    memory = createMemoryTransfer();
    blobs = [];
    registry.tag("1", add({ schemaVersion: 2, manifests: ["amd64", "arm64"].map(manifest) }, MediaType.ociIndex));
  });

  afterEach(() => registry[Symbol.asyncDispose]());

  function add(document: unknown, mediaType: string): Descriptor {
    const bytes = encode(document);
    blobs.push(bytes);
    return registry.add(bytes, mediaType);
  }

  /** Each layer is its own diff id, and so the name of its snapshot. */
  function manifest(architecture: string): Descriptor {
    const layer = add({ layerOf: architecture }, MediaType.ociLayer);
    const rootfs = { type: "layers", diff_ids: [layer.digest] };
    const config = add({ os: "linux", architecture, rootfs }, MediaType.ociConfig);
    const whole = add({ schemaVersion: 2, config, layers: [layer] }, MediaType.ociManifest);
    return { ...whole, platform: platformOf(architecture) };
  }

  const layerOf = (architecture: string): string => sha256(encode({ layerOf: architecture }));

  async function pull(
    platforms: readonly string[],
    unpacked: readonly string[],
    more: Partial<LocalTransferOptions> = {},
  ): Promise<void> {
    const name = `${registry.host}/a/b:1`;
    const unpacks: readonly UnpackTarget[] = unpacked.map((each) => ({
      snapshotter: "overlayfs",
      platform: platformOf(each),
    }));
    const namespace: Namespace = parseNamespace("default");
    await memory.transfers(more).pull(
      namespace,
      { reference: name, access: { plainHttp: true } },
      {
        name,
        labels: new Map(),
        platforms: platforms.map(platformOf),
        allMetadata: false,
        manifestLimit: 0,
        extraNames: [],
        unpacks,
      },
      { signal: AbortSignal.timeout(20_000) },
    );
  }

  it("unpacks what it pulls", async () => {
    await pull(["amd64", "arm64"], ["amd64", "arm64"]);
    expect([...memory.committed].sort()).toEqual([layerOf("amd64"), layerOf("arm64")].sort());
    expect(memory.images).toHaveLength(1);
  });

  it.each([
    ["nothing of which is there", false],
    ["that is there from before", true],
  ])("does not unpack a platform that it does not pull, %s", async (_what, isThere) => {
    if (isThere) for (const bytes of blobs) memory.content.blobs.set(sha256(bytes), { bytes, labels: new Map() });
    await pull(["amd64"], ["arm64"]);
    await pull(["amd64"], ["amd64", "arm64"]);
    expect([...memory.committed]).toEqual([layerOf("amd64")]);
    expect(memory.images).toHaveLength(2);
    expect(memory.content.blobs.size).toBe(isThere ? blobs.length : 4);
  });

  it.each([1, 4])("that keeps no layers prepares none to learn that it has none, %i at once", async (concurrency) => {
    const layers = Array.from({ length: 5 }, (_, at) => add({ layer: at }, MediaType.ociLayer));
    const diffIds = layers.map(({ digest }) => digest);
    const config = add({ ...platformOf("amd64"), rootfs: { type: "layers", diff_ids: diffIds } }, MediaType.ociConfig);
    registry.tag("1", add({ schemaVersion: 2, config, layers }, MediaType.ociManifest));
    await pull(["amd64"], ["amd64"], { unpackConcurrency: () => concurrency });
    const usual = memory.prepared.length;
    expect(memory.committed.size).toBe(5);
    memory = createMemoryTransfer();
    await pull(["amd64"], ["amd64"], { unpackConcurrency: () => concurrency, discardLayers: true });
    expect([memory.prepared.length, memory.committed.size]).toEqual([usual, 5]);
  });

  it.each([
    ["an image", MediaType.ociConfig, "", 1],
    ["an image of old", "application/octet-stream", "", 1],
    ["an artifact", "application/vnd.chart.config.v1+json", "", 0],
    [
      "an artifact that is to be unpacked",
      "application/vnd.chart.config.v1+json",
      "application/vnd.chart.config.v1+json",
      1,
    ],
    ["an image where only others are to be unpacked", MediaType.ociConfig, "application/vnd.chart.config.v1+json", 0],
  ])("unpacks by the type of the configuration: %s", async (_what, mediaType, configType, count) => {
    const layer = add({ layerOf: "artifact" }, "application/vnd.chart.content.v1.tar");
    const config = add({ rootfs: { type: "layers", diff_ids: [layer.digest] } }, mediaType);
    registry.tag("1", add({ schemaVersion: 2, config, layers: [layer] }, MediaType.ociManifest));
    const choice = { platform: platformOf("amd64"), snapshotter: "overlayfs", differ: "walking", configType };
    await pull(["amd64"], ["amd64"], { unpacks: [choice] });
    expect(memory.committed.size).toBe(count);
    expect(memory.images).toHaveLength(1);
    expect(memory.content.blobs.size).toBe(3);
  });
});
