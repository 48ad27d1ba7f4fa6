import type { MetadataStore, NamespacedStores } from "@berth/core/metadata";
import type { Namespace } from "@berth/core/namespaces";
import { parseNamespace } from "@berth/core/namespaces";
import type { Snapshotter } from "@berth/core/snapshots";
import type { UnpackTarget } from "@berth/core/transfer";
import { notFound } from "@berth/errors";
import type { Descriptor, Platform } from "@berth/oci";
import { MediaType } from "@berth/oci";
import type { DifferProvider } from "@berth/plugin-core/types";
import type { FaultRegistry } from "@berth/testing";
import { MemoryContentStore, sha256, startFaultRegistry } from "@berth/testing";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

import { LocalTransfer } from "../src/index.ts";
import type { LocalTransferOptions } from "../src/transfer-options.ts";

const encode = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));
const platformOf = (architecture: string): Platform => ({ os: "linux", architecture });

describe("a pull", () => {
  let registry: FaultRegistry;
  let content: MemoryContentStore;
  let images: string[];
  let committed: Set<string>;
  let blobs: Uint8Array[];

  beforeEach(async () => {
    registry = await startFaultRegistry();
    content = new MemoryContentStore();
    [images, committed, blobs] = [[], new Set(), []];
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

  function transfers(more: Partial<LocalTransferOptions> = {}): LocalTransfer {
    const snapshotter: Partial<Snapshotter> = {
      async stat(name) {
        if (!committed.has(name)) throw notFound(name);
        return { name, kind: "committed", parent: "", labels: new Map(), createdAt: 0, updatedAt: 0 };
      },
      prepare: async () => [],
      commit: async (name) => void committed.add(name),
      remove: async () => {},
    };
    // Nothing else is asked for.
    const stores = {
      namespace: "default",
      content,
      snapshotters: ["overlayfs"],
      snapshotter: () => snapshotter,
      images: {
        update: ({ name }: { readonly name: string }) => Promise.reject(notFound(name)),
        create: async ({ name }: { readonly name: string }) => void images.push(name),
      },
      leases: { create: async () => {}, delete: async () => {} },
    } as unknown as NamespacedStores;
    const walking: DifferProvider = () => ({
      apply: async ({ digest, size }) => ({ mediaType: MediaType.ociLayer, digest, size }),
    });
    const metadata = { namespace: () => stores } as unknown as MetadataStore;
    return new LocalTransfer({ metadata, differs: new Map([["walking", walking]]), ...more });
  }

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
    await transfers(more).pull(
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
    expect([...committed].sort()).toEqual([layerOf("amd64"), layerOf("arm64")].sort());
    expect(images).toHaveLength(1);
  });

  it.each([
    ["nothing of which is there", false],
    ["that is there from before", true],
  ])("does not unpack a platform that it does not pull, %s", async (_what, isThere) => {
    if (isThere) for (const bytes of blobs) content.blobs.set(sha256(bytes), { bytes, labels: new Map() });
    await pull(["amd64"], ["arm64"]);
    await pull(["amd64"], ["amd64", "arm64"]);
    expect([...committed]).toEqual([layerOf("amd64")]);
    expect(images).toHaveLength(2);
    expect(content.blobs.size).toBe(isThere ? blobs.length : 4);
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
    expect(committed.size).toBe(count);
    expect(images).toHaveLength(1);
    expect(content.blobs.size).toBe(3);
  });
});
