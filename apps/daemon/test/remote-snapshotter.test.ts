import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { ImageStoreSchema } from "@berth/api/containerd/types/transfer/imagestore";
import { OCIRegistrySchema } from "@berth/api/containerd/types/transfer/registry";
import type { Client } from "@berth/client";
import { createClient } from "@berth/client";
import type { Labels } from "@berth/core/labels";
import type { Snapshotter } from "@berth/core/snapshots";
import { alreadyExists } from "@berth/errors";
import { chainIds, hostPlatform } from "@berth/oci";
import { createRpcServer, serviceRoute } from "@berth/rpc";
import { openOverlaySnapshotter } from "@berth/snapshotters/overlayfs";
import { createSnapshotService, Snapshots } from "@berth/snapshotters/service";
import type { BuiltImage, FaultRegistry } from "@berth/testing";
import {
  buildImage,
  launcher,
  runProgram,
  seededRandom,
  startBerthd,
  startFaultRegistry,
  temporaryDirectory,
} from "@berth/testing";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";

import { pack, transfer } from "./transfer-client.ts";

const REF = "containerd.io/snapshot.ref";
const CRI = "containerd.io/snapshot/cri.";

/** Brings the layers of `here` in by itself: it answers that they exist, as soon as it is asked for them. */
class RemoteSnapshotter {
  readonly here = new Set<string>();
  readonly asked: Labels[] = [];
  readonly served: Snapshotter;

  constructor(inner: Snapshotter) {
    this.served = new Proxy(inner, {
      get: (target, name) => {
        if (name === "prepare") return this.#prepare(target);
        // Methods keep their own private state.
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  }

  #prepare(inner: Snapshotter): Snapshotter["prepare"] {
    return async (key, parent, options = {}) => {
      const { labels = new Map<string, string>() } = options;
      const chainId = labels.get(REF) ?? "";
      if (chainId !== "") this.asked.push(labels);
      if (!this.here.has(chainId)) return inner.prepare(key, parent, options);
      const [mount] = await inner.prepare(key, parent, { labels });
      await mkdir(join(upperOf(mount), "brought"), { recursive: true });
      await writeFile(join(upperOf(mount), "brought", chainId), "");
      await inner.commit(chainId, key, { labels });
      throw alreadyExists(`target snapshot ${chainId}`);
    };
  }
}

function upperOf(mount: { readonly source: string; readonly options: readonly string[] } | undefined): string {
  const upper = mount?.options.find((option) => option.startsWith("upperdir="));
  return upper?.slice("upperdir=".length) ?? mount?.source ?? "";
}

describe("a snapshotter that brings layers in by itself", { timeout: 60_000 }, () => {
  const stack = new AsyncDisposableStack();
  let remote: RemoteSnapshotter;
  let client: Client;
  let address: string;
  let registry: FaultRegistry;

  beforeAll(async () => {
    const { path } = stack.use(await temporaryDirectory("remote"));
    const { snapshotter } = await openOverlaySnapshotter({ root: join(path, "root") });
    stack.use(snapshotter);
    remote = new RemoteSnapshotter(snapshotter);
    const service = createSnapshotService({ snapshotterFor: () => remote.served });
    const server = stack.use(createRpcServer({ routes: [serviceRoute(Snapshots, service)] }));
    await server.listen({ path: join(path, "remote.sock"), mode: 0o600 });
    registry = stack.use(await startFaultRegistry());
    const proxy = (name: string): string =>
      `[proxy_plugins.${name}]\ntype = "snapshot"\naddress = "${path}/remote.sock"\n`;
    const exports = `[proxy_plugins.lazy.exports]\nenable_remote_snapshot_annotations = "true"\n`;
    const daemon = stack.use(await startBerthd({ config: `${proxy("lazy")}${exports}` }));
    ({ address } = daemon);
    client = stack.use(createClient({ address }));
  }, 60_000);
  afterAll(() => stack.disposeAsync());
  beforeEach(() => {
    remote.asked.length = 0;
  });

  let seed = 0;
  async function publish(): Promise<{ readonly image: BuiltImage; readonly name: string }> {
    const random = seededRandom((seed += 1));
    const layers = [0, 1, 2].map((index) => [
      { path: `layer-${index}`, type: "file" as const, size: 50_000, content: random.bytes(50_000) },
    ]);
    const image = await buildImage({ name: `example.org/lazy:${seed}`, layers });
    for (const [digest, bytes] of image.blobs) {
      const { mediaType } =
        [...image.layers, image.config, image.manifest].find((each) => each.digest === digest) ?? {};
      registry.add(bytes, mediaType);
    }
    registry.tag(`v${seed}`, image.manifest);
    return { image, name: `${registry.host}/team/lazy:v${seed}` };
  }
  const { os, architecture } = hostPlatform();
  const pull = (name: string) =>
    transfer(
      client.transport,
      pack(OCIRegistrySchema, { reference: name }),
      pack(ImageStoreSchema, { name, platforms: [{ os, architecture }], unpacks: [{ snapshotter: "lazy" }] }),
    );
  /** By ctr itself; returns its lines. */
  async function pullHere(name: string): Promise<string> {
    const line = ["--address", address, "images", "pull", "--local", "--plain-http", "--snapshotter", "lazy", name];
    const { code, stdout, stderr } = await runProgram(launcher("ctr"), line, { timeoutMs: 60_000 });
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    return stdout;
  }
  const downloaded = (image: BuiltImage): readonly boolean[] =>
    image.layers.map(({ digest }) =>
      registry.requests.some(({ method, path }) => method === "GET" && path.endsWith(digest)),
    );

  const expectThere = async (image: BuiltImage): Promise<void> => {
    const { labels } = await client.content.info(image.config.digest);
    const top = chainIds(image.diffIds).at(-1) ?? "";
    expect(labels.get("containerd.io/gc.ref.snapshot.lazy")).toBe(top);
    expect(await client.snapshotter("lazy").stat(top)).toMatchObject({ kind: "committed" });
  };
  const layersAsked = (image: BuiltImage, since: number): readonly string[] =>
    registry.requests
      .slice(since)
      .map(({ path }) => path)
      .filter((path) => image.layers.some(({ digest }) => path.endsWith(digest)));

  it("is told of the image, and what it does not have is downloaded and unpacked", async () => {
    const { image, name } = await publish();
    await pull(name);
    expect(downloaded(image)).toEqual([true, true, true]);
    const digests = image.layers.map(({ digest }) => digest);
    expect(remote.asked.slice(0, 3).map((labels) => Object.fromEntries(labels))).toMatchObject(
      digests.map((digest, index) => ({
        [`${CRI}image-ref`]: name,
        [`${CRI}manifest-digest`]: image.manifest.digest,
        [`${CRI}layer-digest`]: digest,
        [`${CRI}image-layers`]: digests.slice(index).join(","),
      })),
    );
  });

  it.each([
    ["all", 3],
    ["the lowest two", 2],
  ])("has %s of the layers: these are not downloaded, now or by a later pull", async (_which, count) => {
    const { image, name } = await publish();
    remote.here.clear();
    for (const id of chainIds(image.diffIds).slice(0, count)) remote.here.add(id);
    const steps = await pull(name);
    expect(downloaded(image)).toEqual([0, 1, 2].map((index) => index >= count));
    expect(steps.filter(({ event }) => event === "already exists")).toHaveLength(count);
    await expectThere(image);
    const before = registry.requests.length;
    await pull(name);
    expect(layersAsked(image, before)).toEqual([]);
  });

  it("is told of the image by a client that pulls by itself, which leaves out the same layers", async () => {
    const { image, name } = await publish();
    remote.here.clear();
    for (const id of chainIds(image.diffIds).slice(0, 2)) remote.here.add(id);
    const lines = await pullHere(name);
    expect(downloaded(image)).toEqual([false, false, true]);
    const states = image.layers.map(({ digest }) => new RegExp(`${digest} (\\w+)`).exec(lines)?.[1]);
    expect(states).toEqual(["exists", "exists", "done"]);
    expect(remote.asked[0]?.get(`${CRI}image-ref`)).toBe(name);
    await expectThere(image);
    const before = registry.requests.length;
    await pullHere(name);
    expect(layersAsked(image, before)).toEqual([]);
  });
});
