import { glob, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { ImageStoreSchema } from "@berth/api/containerd/types/transfer/imagestore";
import { OCIRegistrySchema } from "@berth/api/containerd/types/transfer/registry";
import { createClient } from "@berth/client";
import { hostPlatform } from "@berth/oci";
import {
  buildImage,
  seededRandom,
  startBerthd,
  startRegistry,
  startRegistryRelay,
  temporaryDirectory,
} from "@berth/testing";
import { describe, expect, it } from "vitest";

import { skopeo } from "./skopeo.ts";
import { pack, transfer } from "./transfer-client.ts";

const LAYER_BYTES = 12_000_000;
const BYTES_PER_SECOND = 12_000_000;

/** What has come of each blob, by its ref, as the files of the content store have it. */
async function ingestsOf(root: string): Promise<ReadonlyMap<string, number>> {
  const found = new Map<string, number>();
  for await (const path of glob(join(root, "io.containerd.content.v1.content", "ingest", "*", "data"))) {
    const ref = await readFile(join(path, "..", "ref"), "utf8");
    found.set(ref.replace(/^.*(?=sha256:)/, ""), (await stat(path)).size);
  }
  return found;
}

describe("a pull that ends with its daemon", { timeout: 120_000 }, () => {
  it("goes on where it was: only what had not come is asked for again", async () => {
    await using registry = await startRegistry();
    await using relay = await startRegistryRelay(registry.host, BYTES_PER_SECOND);
    await using daemon = await startBerthd();
    await using directory = await temporaryDirectory("restart");
    const random = seededRandom(5);
    const image = await buildImage({
      name: "example.org/cut:1",
      layers: [1, 2, 3].map((index) => [
        { path: `layer-${index}`, type: "file", size: LAYER_BYTES, content: random.bytes(LAYER_BYTES) },
      ]),
    });
    await publish(image.archive, directory.path, registry.host);
    const reference = `${relay.host}/team/cut:1`;
    const { os, architecture } = hostPlatform();
    const pull = async (): Promise<unknown> => {
      await using client = createClient({ address: daemon.address });
      const into = { name: reference, platforms: [{ os, architecture }], unpacks: [{ snapshotter: "overlayfs" }] };
      return await transfer(
        client.transport,
        pack(OCIRegistrySchema, { reference, resolver: { defaultScheme: "http" } }),
        pack(ImageStoreSchema, into),
      );
    };
    const cut = pull().then(
      () => "done",
      () => "cut",
    );
    const layers = new Set<string>(image.layers.map(({ digest }) => digest));
    const layerRequests = () => relay.requests.filter(({ path }) => layers.has(path.replace(/^.*(?=sha256:)/, "")));
    const sent = (): number => layerRequests().reduce((sum, request) => sum + request.sent, 0);
    await expect.poll(sent, { timeout: 30_000 }).toBeGreaterThan(LAYER_BYTES);
    let left: ReadonlyMap<string, number> = new Map();
    await daemon.restart({ signal: "SIGKILL", whileDown: async () => void (left = await ingestsOf(daemon.root)) });
    expect(await cut).toBe("cut");
    const had = image.layers.map(({ digest }) => left.get(digest) ?? 0);
    expect(had.reduce((sum, length) => sum + length, 0)).toBeGreaterThan(LAYER_BYTES / 2);
    relay.requests.length = 0;

    await pull();

    const asked = new Map(layerRequests().map(({ path, range }) => [path.replace(/^.*(?=sha256:)/, ""), range]));
    expect(asked).toEqual(
      new Map(
        image.layers.flatMap(({ digest, size }) => {
          const start = left.get(digest) ?? 0;
          return start === size ? [] : [[digest, start === 0 ? "" : `bytes=${start}-`] as const];
        }),
      ),
    );
    const whole = image.layers.reduce((sum, { size }) => sum + size, 0);
    expect(sent()).toBe(whole - had.reduce((sum, length) => sum + length, 0));
    await using client = createClient({ address: daemon.address });
    const { labels } = await client.content.info(image.config.digest);
    const chainId = labels.get("containerd.io/gc.ref.snapshot.overlayfs") ?? "";
    expect(await client.snapshotter("overlayfs").stat(chainId)).toMatchObject({ kind: "committed" });
  });
});

/** By a program that is not ours. */
async function publish(archive: Uint8Array, directory: string, host: string): Promise<void> {
  const file = join(directory, "image.tar");
  await writeFile(file, archive);
  await skopeo("copy", "--dest-tls-verify=false", `oci-archive:${file}`, `docker://${host}/team/cut:1`);
}
