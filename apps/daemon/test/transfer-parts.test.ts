import { ImageStoreSchema } from "@berth/api/containerd/types/transfer/imagestore";
import {
  AuthResponseSchema,
  AuthType,
  HTTPDebug,
  OCIRegistrySchema,
} from "@berth/api/containerd/types/transfer/registry";
import type { Client } from "@berth/client";
import { createClient } from "@berth/client";
import { codeName, codeOf } from "@berth/errors";
import type { Digest, DigestAlgorithm } from "@berth/oci";
import { hostPlatform, MediaType } from "@berth/oci";
import type { BuiltImage, FaultRegistry, PeerDaemon } from "@berth/testing";
import { buildImage, startBerthd, startFaultRegistry } from "@berth/testing";
import { receiveBytes } from "@berth/transfer";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";

import { openStream, pack, transfer } from "./transfer-client.ts";

const { os, architecture } = hostPlatform();
const PLATFORM = { os, architecture };
const PART = 500_000;

/** Bytes that do not compress. */
function noise(seed: number, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  for (let state = seed, at = 0; at < size; at += 1) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    bytes[at] = state >>> 16;
  }
  return bytes;
}

function sameBytes(one: Uint8Array | undefined, other: Uint8Array | undefined): boolean {
  return one !== undefined && other !== undefined && Buffer.compare(one, other) === 0;
}

describe("the transfer service with what is off by default", { timeout: 60_000 }, () => {
  const stack = new AsyncDisposableStack();
  let daemon: PeerDaemon;
  let client: Client;
  let registry: FaultRegistry;
  let seed = 1;

  beforeAll(async () => {
    const timeouts = `"io.berth.timeout.registry.progress" = "300ms"\n"io.berth.timeout.registry.token" = "1s"\n`;
    const config = `[timeouts]\n${timeouts}[plugins."io.containerd.transfer.v1.local"]\nconcurrent_layer_fetch_buffer = ${PART}\n`;
    daemon = stack.use(await startBerthd({ config }));
    client = stack.use(createClient({ address: daemon.address }));
  }, 60_000);

  beforeEach(async () => {
    registry = stack.use(await startFaultRegistry());
  });

  afterAll(() => stack.disposeAsync());

  /** An image that no other test has, on the registry. */
  const publish = async (
    sizes: readonly number[],
    { algorithm, urls }: { readonly algorithm?: DigestAlgorithm; readonly urls?: (digest: Digest) => string } = {},
  ): Promise<BuiltImage> => {
    const layers = sizes.map((size) => [
      { path: `f${(seed += 1)}`, type: "file" as const, size, content: noise(seed, size) },
    ]);
    const image = await buildImage({ name: "x:1", layers, ...(algorithm && { algorithm }) });
    const bytesOf = (digest: Digest): Uint8Array => image.blobs.get(digest) ?? new Uint8Array();
    for (const { digest, mediaType } of [...image.layers, image.config])
      registry.add(bytesOf(digest), mediaType, algorithm);
    const manifest = JSON.parse(Buffer.from(bytesOf(image.manifest.digest)).toString());
    if (urls !== undefined) for (const layer of manifest.layers) layer.urls = [urls(layer.digest)];
    const added = registry.add(new TextEncoder().encode(JSON.stringify(manifest)), MediaType.ociManifest, algorithm);
    registry.tag("1", added);
    return { ...image, manifest: added };
  };
  const pull = (object = ":1") => {
    const reference = `${registry.host}/team/app${object}`;
    const into = {
      name: reference,
      platforms: [PLATFORM],
      unpacks: [{ platform: PLATFORM, snapshotter: "overlayfs" }],
    };
    return transfer(client.transport, pack(OCIRegistrySchema, { reference }), pack(ImageStoreSchema, into)).then(
      () => "ok",
      (error: unknown) => codeName(codeOf(error)),
    );
  };
  const isUnpacked = async (image: BuiltImage): Promise<void> => {
    const { labels } = await client.content.info(image.config.digest);
    const chainId = labels.get("containerd.io/gc.ref.snapshot.overlayfs") ?? "";
    expect(await client.snapshotter("overlayfs").stat(chainId)).toMatchObject({ kind: "committed" });
    expect(await Array.fromAsync(client.content.listStatuses())).toEqual([]);
  };
  const partsOf = ({ digest }: { readonly digest: Digest }): (string | undefined)[] =>
    registry.requests.filter(({ path }) => path.endsWith(digest)).map(({ headers }) => headers.range);

  it("pulls and unpacks", async () => {
    const image = await publish([3_000_000, 10, 1_200_000]);
    expect(await pull()).toBe("ok");
    await isUnpacked(image);
    expect(partsOf(image.layers[0] ?? image.config).length).toBeGreaterThan(1);
    expect(partsOf(image.layers[1] ?? image.config)).toEqual([undefined]);
  });

  it("pulls on when parts are reset, stall or come from a server that gives none", async () => {
    const image = await publish([4_000_000, 2_000_000]);
    let count = 0;
    registry.fault = ({ headers }) => {
      if (headers.range === undefined) return undefined;
      count += 1;
      if (count % 4 === 1) return { kind: "reset", after: 100_000 };
      if (count % 4 === 2) return { kind: "stall", after: 200_000 };
      return count % 4 === 3 ? { kind: "ignore-range" } : undefined;
    };
    expect(await pull()).toBe("ok");
    await isUnpacked(image);
  });

  it("keeps nothing when one part has wrong bytes, and pulls later", async () => {
    const image = await publish([3_000_000]);
    registry.fault = ({ headers }) => (headers.range?.startsWith(`bytes=${PART}-`) ? { kind: "corrupt" } : undefined);
    expect(await pull()).toBe("failed_precondition");
    expect(await Array.fromAsync(client.content.listStatuses())).toEqual([]);
    registry.fault = undefined;
    expect(await pull()).toBe("ok");
    await isUnpacked(image);
  });

  it.each([0, 1000])("takes from the registry what elsewhere is wrong from byte %i on", async (from) => {
    await using other = await startFaultRegistry();
    const image = await publish([2_000_000, 100_000], { urls: (digest) => `http://${other.host}/${digest}` });
    for (const layer of image.layers) other.add(image.blobs.get(layer.digest) ?? new Uint8Array(), layer.mediaType);
    other.fault = () => ({ kind: "corrupt", from });
    expect(await pull()).toBe("ok");
    await isUnpacked(image);
    expect(other.requests.length).toBeGreaterThan(0);
  });

  it.each(["sha512", "sha384"] as const)("pulls and pushes an image whose digests are of %s", async (algorithm) => {
    const image = await publish([1_500_000, 10], { algorithm });
    expect(image.manifest.digest).toMatch(algorithm);
    for (const object of [":1", `@${image.manifest.digest}`]) expect(await pull(object)).toBe("ok");
    await isUnpacked(image);
    await using other = await startFaultRegistry();
    const name = `${registry.host}/team/app:1`;
    const to = pack(OCIRegistrySchema, { reference: `${other.host}/team/app:1` });
    await transfer(client.transport, pack(ImageStoreSchema, { name }), to);
    for (const { digest } of [image.config, ...image.layers])
      expect(sameBytes(other.find(digest), registry.find(digest))).toBe(true);
    expect(sameBytes(other.find("1"), registry.find(image.manifest.digest))).toBe(true);
  });

  it("tells a client that asks for it of its requests, and the log where the client does not say where", async () => {
    await publish([10]);
    const reference = `${registry.host}/team/app:1`;
    const stream = await openStream(client.transport);
    const told = Array.fromAsync(receiveBytes(stream, {}));
    const from = (resolver: object) => pack(OCIRegistrySchema, { reference, resolver });
    const into = pack(ImageStoreSchema, { name: reference, platforms: [PLATFORM] });
    await transfer(client.transport, from({ httpDebug: HTTPDebug.DEBUG, logsStream: stream.id }), into);
    const lines = Buffer.concat(await told)
      .toString()
      .split("\n");
    const manifest = `http://${registry.host}/v2/team/app/manifests/1 `;
    // It asked by TLS before.
    expect(lines[1]).toMatch(/^< failed HEAD https:/);
    expect(lines).toHaveLength(registry.requests.length * 2 + 3);
    expect(lines[2]).toMatch(`> HEAD ${manifest}accept=`);
    expect(lines[3]).toMatch(`< 200 HEAD ${manifest}`);
    await transfer(client.transport, from({ httpDebug: HTTPDebug.TRACE }), into);
    await expect.poll(() => daemon.log()).toContain(`< 200 HEAD ${manifest}`);
  });

  it("waits for a token as long as it is told", { timeout: 20_000 }, async () => {
    await publish([10]);
    const challenge = `Bearer realm="http://${registry.host}/token"`;
    registry.fault = ({ path }) =>
      path === "/token"
        ? { kind: "silence" }
        : { kind: "status", status: 401, headers: { "www-authenticate": challenge } };
    expect(await pull()).toBe("deadline_exceeded");
  });

  it("sends nothing that is empty for a user and a password", async () => {
    await publish([10]);
    registry.fault = () => ({ kind: "status", status: 401, headers: { "www-authenticate": "Basic realm=x" } });
    const auth = await openStream(client.transport);
    void (async () => {
      while ((await auth.receive()) !== undefined)
        await auth.send(pack(AuthResponseSchema, { authType: AuthType.REFRESH, secret: "" }));
    })().catch(() => {});
    const reference = `${registry.host}/team/app:1`;
    const from = pack(OCIRegistrySchema, { reference, resolver: { authStream: auth.id } });
    const error: unknown = await transfer(client.transport, from, pack(ImageStoreSchema, { name: reference })).catch(
      (thrown: unknown) => thrown,
    );
    expect(codeName(codeOf(error))).toBe("unauthenticated");
    expect(new Set(registry.requests.map(({ headers }) => headers.authorization))).toEqual(new Set([undefined]));
    auth.close();
  });
});
