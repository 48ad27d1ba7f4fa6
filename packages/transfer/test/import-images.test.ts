import { parseNamespace } from "@berth/core/namespaces";
import { exportArchive } from "@berth/images";
import type { Descriptor } from "@berth/oci";
import { MediaType } from "@berth/oci";
import { MemoryContentStore, sha256 } from "@berth/testing";
import { beforeEach, describe, expect, it } from "vitest";

import type { LocalTransferOptions } from "../src/transfer-options.ts";
import type { MemoryTransfer } from "./memory-transfer.ts";
import { createMemoryTransfer } from "./memory-transfer.ts";

const CHART = "application/vnd.chart.config.v1+json";
const amd64 = { os: "linux", architecture: "amd64" };

const encode = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));

describe("an import", () => {
  let elsewhere: MemoryContentStore;
  let memory: MemoryTransfer;

  beforeEach(() => {
    elsewhere = new MemoryContentStore();
    memory = createMemoryTransfer();
  });

  function add(document: unknown, mediaType: string): Descriptor {
    const bytes = encode(document);
    const digest = sha256(bytes);
    elsewhere.blobs.set(digest, { bytes, labels: new Map() });
    return { mediaType, digest, size: bytes.length };
  }

  function image(architecture: string, configType: string): Descriptor {
    const layer = add({ layerOf: architecture }, MediaType.ociLayer);
    const rootfs = { type: "layers", diff_ids: [layer.digest] };
    const config = add({ os: "linux", architecture, rootfs }, configType);
    return add({ schemaVersion: 2, config, layers: [layer] }, MediaType.ociManifest);
  }

  const indexOf = (manifest: Descriptor, architecture: string): Descriptor =>
    add(
      { schemaVersion: 2, manifests: [{ ...manifest, platform: { os: "linux", architecture } }] },
      MediaType.ociIndex,
    );

  /** Of every platform, named by their own names; what is for amd64 is to be unpacked. */
  async function importAll(targets: readonly Descriptor[], more: Partial<LocalTransferOptions>): Promise<void> {
    const exported = targets.map((target, at) => ({ target, name: `example.org/a:${at}` }));
    const archive = exportArchive(exported, { content: elsewhere, skipDockerManifest: true });
    const extraNames = [
      { name: "example.org/a", isPrefix: true, allowOverwrite: true, addDigest: false, skipNamedDigest: false },
    ];
    const unpacks = [{ snapshotter: "overlayfs", platform: amd64 }];
    await memory
      .transfers(more)
      .importArchive(
        parseNamespace("default"),
        archive,
        { name: "", labels: new Map(), platforms: [], allMetadata: false, manifestLimit: 0, extraNames, unpacks },
        { signal: AbortSignal.timeout(20_000) },
      );
  }

  it.each([
    ["an image", MediaType.ociConfig, "", 1],
    ["an artifact that has what an image has", CHART, "", 0],
    ["an artifact that is to be unpacked", CHART, CHART, 1],
    ["an image where only others are to be unpacked", MediaType.ociConfig, CHART, 0],
  ])("unpacks by the type of the configuration, early too: %s", async (_what, mediaType, configType, count) => {
    const choice = { platform: amd64, snapshotter: "overlayfs", differ: "walking", configType };
    await importAll([image("amd64", mediaType)], { unpacks: [choice] });
    expect(memory.images).toEqual(["example.org/a:0"]);
    expect([memory.prepared.length > 0, memory.committed.size]).toEqual([count > 0, count]);
  });

  it("does not unpack an image that is not there for the platform, and unpacks the others", async () => {
    const [foreign, own] = ["arm64", "amd64"].map((each) => indexOf(image(each, MediaType.ociConfig), each));
    if (foreign === undefined || own === undefined) throw new Error("unreachable");
    await importAll([foreign, own], {});
    expect(memory.images).toHaveLength(2);
    expect([...memory.committed]).toEqual([sha256(encode({ layerOf: "amd64" }))]);
  });
});
