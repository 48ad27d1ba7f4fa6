import { writeBlob } from "@berth/core/content";
import { codeName, codeOf } from "@berth/errors";
import type { BuiltImage, PeerRegistry } from "@berth/testing";
import { buildImage, MemoryContentStore, sha256, startRegistry } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { RegistryClient } from "../src/index.ts";

const NOWHERE = `sha256:${"0".repeat(64)}` as const;

describe("RegistryClient with Debian's docker-registry", () => {
  const stack = new AsyncDisposableStack();
  let registry: PeerRegistry;
  let client: RegistryClient;
  let image: BuiltImage;
  let store: MemoryContentStore;

  beforeAll(async () => {
    registry = stack.use(await startRegistry());
    client = stack.use(new RegistryClient());
    image = await buildImage({
      name: "example.org/x:1",
      layers: [[{ path: "hello", type: "file", size: 3_000_000, content: Buffer.alloc(3_000_000, "hello world\n") }]],
      compression: "none",
    });
    store = new MemoryContentStore();
    for (const [digest, bytes] of image.blobs) await writeBlob(store, digest, [bytes], { digest, size: bytes.length });
  }, 60_000);

  afterAll(() => stack.disposeAsync());

  const pushAll = async (name: string): Promise<boolean[]> => {
    const sent = [];
    for (const blob of [...image.layers, image.config]) sent.push(await client.push(name, blob, store));
    sent.push(await client.push(name, image.manifest, store, { object: "1" }));
    return sent;
  };

  it("pushes what the registry does not have, resolves and fetches it", async () => {
    const name = `${registry.host}/group/x:1`;
    expect(await pushAll(name)).toEqual([true, true, true]);
    expect(await pushAll(name)).toEqual([false, false, false]);
    const { descriptor } = await client.resolve(name);
    expect(descriptor).toEqual(image.manifest);
    expect(await client.resolve(`${registry.host}/group/x@${image.manifest.digest}`)).toMatchObject({ descriptor });
    for (const blob of [...image.layers, image.config, image.manifest]) {
      const bytes = Buffer.concat(await Array.fromAsync(client.fetch(name, blob)));
      expect(sha256(bytes)).toBe(blob.digest);
    }
  });

  it("fetches from an offset", async () => {
    const name = `${registry.host}/group/offset:1`;
    await pushAll(name);
    const [layer] = image.layers;
    if (layer === undefined) throw new Error("the image has a layer");
    const whole = image.blobs.get(layer.digest) ?? new Uint8Array();
    const tail = Buffer.concat(await Array.fromAsync(client.fetch(name, layer, { offset: 2_000_000 })));
    expect(Buffer.compare(tail, whole.subarray(2_000_000))).toBe(0);
    expect(await Array.fromAsync(client.fetch(name, layer, { offset: layer.size }))).toEqual([]);
  });

  it("takes a blob over from another repository", async () => {
    await pushAll(`${registry.host}/source/a:1`);
    const [layer] = image.layers;
    if (layer === undefined) throw new Error("the image has a layer");
    const annotations = { "containerd.io/distribution.source.127.0.0.1": "source/a" };
    const sent: number[] = [];
    const onProgress = (bytes: number): void => void sent.push(bytes);
    await client.push(`${registry.host}/target/b:1`, { ...layer, annotations }, store, { onProgress });
    expect(sent).toEqual([]);
  });

  it("lists no referrers where there are none", async () => {
    expect(await client.referrers(`${registry.host}/group/x:1`, image.manifest.digest)).toEqual([]);
  });

  it.each([
    ["an unknown tag", (host: string) => client.resolve(`${host}/group/x:none`), "not_found"],
    ["an unknown repository", (host: string) => client.resolve(`${host}/none:1`), "not_found"],
    ["an unknown digest", (host: string) => client.resolve(`${host}/group/x@${NOWHERE}`), "not_found"],
    ["a name without tag", (host: string) => client.resolve(`${host}/group/x`), "invalid_argument"],
    ["a repository with ..", (host: string) => client.resolve(`${host}/group/../x:1`), "invalid_argument"],
    ["half of a digest", (host: string) => client.resolve(`${host}/group/x@sha256:abc`), "invalid_argument"],
    [
      "a tag with half of a digest",
      (host: string) => client.resolve(`${host}/group/x:1@sha256:abc`),
      "invalid_argument",
    ],
    ["a tag with a slash", (host: string) => client.resolve(`${host}/group/x:1/2`), "invalid_argument"],
    ["no server", () => client.resolve("127.0.0.1:1/x:1"), "unavailable"],
  ])("%s", async (_name, call, code) => {
    const error = await call(registry.host).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(codeName(codeOf(error))).toBe(code);
  });
});
