import { chmod, mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { ImageStoreSchema } from "@berth/api/containerd/types/transfer/imagestore";
import { ImageExportStreamSchema, ImageImportStreamSchema } from "@berth/api/containerd/types/transfer/importexport";
import { AuthResponseSchema, AuthType, OCIRegistrySchema } from "@berth/api/containerd/types/transfer/registry";
import { ReadStreamSchema } from "@berth/api/containerd/types/transfer/streaming";
import type { Client } from "@berth/client";
import { createClient } from "@berth/client";
import { writeTar } from "@berth/archive";
import type { AnyValue } from "@berth/core/any";
import { streamBlob } from "@berth/core/content";
import { codeName, codeOf } from "@berth/errors";
import type { ImageManifest } from "@berth/oci";
import { hostPlatform } from "@berth/oci";
import type { BuiltImage, FaultRegistry, PeerDaemon } from "@berth/testing";
import {
  buildImage,
  busyboxImage,
  sha256,
  startBerthd,
  startFaultRegistry,
  startRegistry,
  temporaryDirectory,
} from "@berth/testing";
import { receiveBytes, sendBytes } from "@berth/transfer";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { openStream, pack, transfer } from "./transfer-client.ts";

const { os, architecture } = hostPlatform();
const PLATFORM = { os, architecture };

async function codeThrown(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => "ok",
    (error: unknown) => codeName(codeOf(error)),
  );
}

/** Bytes that do not compress. */
function noise(seed: number, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  let state = seed;
  for (let at = 0; at < size; at += 1) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    bytes[at] = state >>> 16;
  }
  return bytes;
}

const imageOf = (name: string, sizes: readonly number[]): Promise<BuiltImage> =>
  buildImage({
    name,
    layers: sizes.map((size, index) => [
      { path: `layer-${index}`, type: "file" as const, size, content: noise(index + 1, size) },
    ]),
  });

describe("the transfer service", { timeout: 60_000 }, () => {
  const stack = new AsyncDisposableStack();
  let daemon: PeerDaemon;
  let client: Client;
  let registry: FaultRegistry;
  let verifiers: string;

  const publish = (image: BuiltImage, tag: string): string => {
    for (const layer of image.layers) registry.add(blobOf(image, layer), layer.mediaType);
    registry.add(blobOf(image, image.config), image.config.mediaType);
    registry.tag(tag, registry.add(blobOf(image, image.manifest), image.manifest.mediaType));
    return `${registry.host}/team/app:${tag}`;
  };
  const blobOf = (image: BuiltImage, { digest }: { readonly digest: BuiltImage["manifest"]["digest"] }): Uint8Array =>
    image.blobs.get(digest) ?? new Uint8Array();
  const fromRegistry = (reference: string, resolver = {}): AnyValue => pack(OCIRegistrySchema, { reference, resolver });
  const intoStore = (name: string, more = {}): AnyValue =>
    pack(ImageStoreSchema, {
      name,
      platforms: [PLATFORM],
      unpacks: [{ platform: PLATFORM, snapshotter: "overlayfs" }],
      ...more,
    });
  const pull = (reference: string, more = {}) =>
    transfer(client.transport, fromRegistry(reference), intoStore(reference, more));
  const isUnpacked = async (image: BuiltImage, name: string): Promise<void> => {
    const { target } = await client.images.get(name);
    expect(target.digest).toBe(image.manifest.digest);
    const { labels } = await client.content.info(image.config.digest);
    const chainId = labels.get("containerd.io/gc.ref.snapshot.overlayfs") ?? "";
    expect(await client.snapshotter("overlayfs").stat(chainId)).toMatchObject({ kind: "committed" });
  };
  const nothingIsLeft = async (): Promise<void> => {
    for await (const { id } of client.leases.list()) expect(id).not.toMatch(/^transfer-/);
    for await (const { name } of client.snapshotter("overlayfs").list()) expect(name).not.toMatch(/^extract-/);
  };
  const clear = async (...names: readonly string[]): Promise<void> => {
    for (const name of names) await client.images.delete(name, { sync: true });
  };

  beforeAll(async () => {
    verifiers = stack.use(await temporaryDirectory("verifiers")).path;
    const config = `[plugins."io.containerd.image-verifier.v1.bindir"]\nbin_dir = "${verifiers}/bin"\nper_verifier_timeout = "1s"\n`;
    daemon = stack.use(await startBerthd({ config }));
    client = stack.use(createClient({ address: daemon.address }));
    registry = stack.use(await startFaultRegistry());
  }, 60_000);

  afterAll(() => stack.disposeAsync());

  it("pulls and unpacks, and tells how far it is", async () => {
    const image = await imageOf("example.org/app:1", [3_000_000, 10, 200_000]);
    const name = publish(image, "pulled");
    const steps = await pull(name, {
      labels: { from: "test" },
      extraReferences: [{ name: "example.org/extra:1" }],
    });
    await isUnpacked(image, name);
    await isUnpacked(image, "example.org/extra:1");
    expect((await client.images.get(name)).labels).toEqual(new Map([["from", "test"]]));
    const events = steps.map(({ event }) => event);
    expect(events.at(0)).toMatch(/^Resolving from /);
    expect(events.at(-1)).toMatch(/^Completed pull from /);
    expect(events.filter((event) => event === "complete")).toHaveLength(5);
    expect(events.filter((event) => event === "extracted")).toHaveLength(3);
    expect(events.filter((event) => event === "saved")).toHaveLength(2);
    await nothingIsLeft();
    const again = await pull(name);
    expect(again.filter(({ event }) => event === "already exists")).toHaveLength(5);
    // The other name goes with the image that it is another name of.
    await clear(name);
    expect(await codeThrown(client.images.get("example.org/extra:1"))).toBe("not_found");
  });

  it.each([
    ["corrupt", { kind: "corrupt" }, "failed_precondition"],
    ["too long", { kind: "endless" }, "failed_precondition"],
    ["missing", { kind: "status", status: 404 }, "not_found"],
  ] as const)("leaves nothing of an image with a layer that is %s", async (what, fault, code) => {
    const image = await imageOf(`example.org/${fault.kind}:1`, [400_000 + code.length + what.length]);
    const name = publish(image, fault.kind);
    const [layer] = image.layers;
    registry.fault = ({ path }) => (path.endsWith(layer?.digest ?? "") ? fault : undefined);
    expect(await codeThrown(pull(name))).toBe(code);
    registry.fault = undefined;
    expect(await codeThrown(client.images.get(name))).toBe("not_found");
    expect(await codeThrown(client.content.info(layer?.digest ?? image.manifest.digest))).toBe("not_found");
    expect(await codeThrown(client.snapshotter("overlayfs").stat(image.diffIds[0] ?? ""))).toBe("not_found");
    await nothingIsLeft();
    await pull(name);
    await isUnpacked(image, name);
    await clear(name);
  });

  it("pulls one blob once for all who want it, and goes on when one of them leaves", async () => {
    const image = await imageOf("example.org/shared:1", [5_000_000, 300_000]);
    const name = publish(image, "shared");
    const [layer] = image.layers;
    const path = layer?.digest ?? "";
    const asked = (): number =>
      registry.requests.filter((request) => request.method === "GET" && request.path.endsWith(path)).length;
    registry.fault = (request) =>
      request.path.endsWith(path) && request.nth === 0 ? { kind: "stall", after: 1_000_000 } : undefined;
    const leaving = new AbortController();
    const first = codeThrown(
      transfer(client.transport, fromRegistry(name), intoStore(name), { signal: leaving.signal }),
    );
    await expect.poll(asked).toBe(1);
    const others = ["a", "b"].map((tag) =>
      transfer(client.transport, fromRegistry(name), intoStore(`example.org/${tag}:1`)),
    );
    await sleep(300);
    expect(asked()).toBe(1);
    leaving.abort();
    expect(await first).toBe("canceled");
    await Promise.all(others);
    registry.fault = undefined;
    expect(asked()).toBe(2);
    await isUnpacked(image, "example.org/a:1");
    await isUnpacked(image, "example.org/b:1");
    await nothingIsLeft();
    await clear("example.org/a:1", "example.org/b:1");
  });

  it("unpacks a layer while it is still being downloaded", async () => {
    const image = await imageOf("example.org/flowing:1", [6_000_000]);
    const name = publish(image, "flowing");
    const path = image.layers[0]?.digest ?? "";
    registry.fault = (request) =>
      request.path.endsWith(path) && request.nth === 0 ? { kind: "stall", after: 5_000_000 } : undefined;
    const leaving = new AbortController();
    const pulling = codeThrown(
      transfer(client.transport, fromRegistry(name), intoStore(name), { signal: leaving.signal }),
    );
    const extracting = async (): Promise<number> => {
      const keys = await Array.fromAsync(client.snapshotter("overlayfs").list());
      const active = keys.find((info) => info.name.startsWith("extract-"));
      if (active === undefined) return 0;
      const [mount] = await client.snapshotter("overlayfs").mounts(active.name);
      const file = join(mount?.source ?? "", "layer-0");
      return (await readFile(file).catch(() => new Uint8Array())).length;
    };
    await expect.poll(extracting, { timeout: 10_000 }).toBeGreaterThan(1_000_000);
    expect(await codeThrown(client.snapshotter("overlayfs").stat(image.diffIds[0] ?? ""))).toBe("not_found");
    leaving.abort();
    expect(await pulling).toBe("canceled");
    registry.fault = undefined;
    await expect
      .poll(() =>
        nothingIsLeft().then(
          () => "ok",
          () => "left",
        ),
      )
      .toBe("ok");
    await pull(name);
    await isUnpacked(image, name);
    await clear(name);
  });

  it("unpacks what is there while the downloads of other layers are stuck, and what others pull", async () => {
    const sizes = [3_000_000, 2_500_000, 400_000, 500_000, 600_000];
    const image = await imageOf("example.org/stuck:1", sizes);
    const name = publish(image, "stuck");
    const stuck = image.layers.slice(0, 2).map(({ digest }) => digest);
    registry.fault = (request) =>
      request.nth === 0 && stuck.some((digest) => request.path.endsWith(digest))
        ? { kind: "stall", after: 1_500_000 }
        : undefined;
    const leaving = new AbortController();
    const pulling = codeThrown(
      transfer(client.transport, fromRegistry(name), intoStore(name), { signal: leaving.signal }),
    );
    const overlays = client.snapshotter("overlayfs");
    const unpacked = async (): Promise<readonly number[]> => {
      const whole: number[] = [];
      for await (const { name: key } of overlays.list()) {
        if (!key.startsWith("extract-")) continue;
        const [mount] = await overlays.mounts(key);
        // The mounts of one that has a parent name their upper directory among the options.
        const upper = mount?.options.find((option) => option.startsWith("upperdir="))?.slice(9) ?? mount?.source ?? "";
        for (const file of await readdir(upper).catch(() => [])) {
          const index = Number(file.slice("layer-".length));
          if ((await stat(join(upper, file))).size === sizes[index]) whole.push(index);
        }
      }
      return whole.toSorted();
    };
    await expect.poll(unpacked, { timeout: 20_000 }).toEqual([2, 3, 4]);
    const other = await imageOf("example.org/free:1", [700_000, 800_000]);
    await pull(publish(other, "free"));
    await isUnpacked(other, `${registry.host}/team/app:free`);
    leaving.abort();
    expect(await pulling).toBe("canceled");
    registry.fault = undefined;
    await pull(name);
    await isUnpacked(image, name);
    await nothingIsLeft();
    await clear(name, `${registry.host}/team/app:free`);
  });

  it("pushes with credentials that its client gives, and imports, tags and exports over streams", async () => {
    const { archive, name, manifest } = await busyboxImage();
    const incoming = await openStream(client.transport);
    async function* pieces(): AsyncGenerator<Uint8Array> {
      for (let at = 0; at < archive.length; at += 100_000) yield archive.subarray(at, at + 100_000);
    }
    const sending = sendBytes(incoming, pieces(), {}).finally(() => incoming.close());
    const steps = await transfer(
      client.transport,
      pack(ImageImportStreamSchema, { stream: incoming.id }),
      intoStore("", { extraReferences: [{ name: "import", isPrefix: true, allowOverwrite: true }] }),
    );
    await sending;
    expect(steps.map(({ event }) => event)).toContain("saved");
    expect((await client.images.get(name)).target.digest).toBe(manifest.digest);

    await using users = await startRegistry();
    const remote = `${users.host}/team/busybox:1`;
    await transfer(client.transport, pack(ImageStoreSchema, { name }), pack(ImageStoreSchema, { name: remote }));
    await transfer(client.transport, pack(ImageStoreSchema, { name: remote }), fromRegistry(remote));
    await clear(remote);
    await pull(remote);
    expect((await client.images.get(remote)).target.digest).toBe(manifest.digest);

    const outgoing = await openStream(client.transport);
    const reading = Array.fromAsync(receiveBytes(outgoing, {}));
    await transfer(
      client.transport,
      pack(ImageStoreSchema, { extraReferences: [{ name: remote }] }),
      pack(ImageExportStreamSchema, { stream: outgoing.id, platforms: [PLATFORM] }),
    );
    const exported = Buffer.concat(await reading);
    expect(exported.length).toBeGreaterThan(archive.length / 2);
    expect(exported.includes(remote)).toBe(true);
    await clear(remote, name);
  });

  it("asks its client for credentials", async () => {
    const image = await imageOf("example.org/secret:1", [20_000]);
    const name = publish(image, "secret");
    registry.fault = ({ headers }) =>
      headers.authorization === `Basic ${Buffer.from("me:word").toString("base64")}`
        ? undefined
        : { kind: "status", status: 401, headers: { "www-authenticate": 'Basic realm="test"' } };
    const auth = await openStream(client.transport);
    // The daemon leaves it open until its client has gone.
    void (async () => {
      while ((await auth.receive()) !== undefined)
        await auth.send(pack(AuthResponseSchema, { authType: AuthType.CREDENTIALS, username: "me", secret: "word" }));
    })().catch(() => {});
    expect(await codeThrown(pull(name))).toBe("unauthenticated");
    await transfer(client.transport, fromRegistry(name, { authStream: auth.id }), intoStore(name));
    registry.fault = undefined;
    await isUnpacked(image, name);
    auth.close();
    await clear(name);
  });

  it("takes credentials as a header, and compresses what it imports", async () => {
    const image = await imageOf("example.org/header:1", [20_000]);
    const name = publish(image, "header");
    registry.fault = ({ headers }) =>
      headers.authorization === "Bearer given"
        ? undefined
        : { kind: "status", status: 401, headers: { "www-authenticate": 'Basic realm="test"' } };
    const auth = await openStream(client.transport);
    void (async () => {
      while ((await auth.receive()) !== undefined)
        await auth.send(pack(AuthResponseSchema, { authType: AuthType.HEADER, secret: "Bearer given" }));
    })().catch(() => {});
    await transfer(client.transport, fromRegistry(name, { authStream: auth.id }), intoStore(name));
    registry.fault = undefined;
    await isUnpacked(image, name);
    auth.close();
    await clear(name);

    const layer = Buffer.concat(await Array.fromAsync(writeTar([{ path: "etc/", type: "directory" }])));
    const config = { os, architecture, rootfs: { type: "layers", diff_ids: [sha256(layer)] } };
    const entry = (path: string, content: Uint8Array) => ({
      path,
      type: "file" as const,
      size: content.length,
      content,
    });
    const json = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value));
    const archive = writeTar([
      entry("manifest.json", json([{ Config: "c.json", Layers: ["l.tar"], RepoTags: ["docker.io/x/packed:1"] }])),
      entry("c.json", json(config)),
      entry("l.tar", layer),
    ]);
    const incoming = await openStream(client.transport);
    const sending = sendBytes(incoming, archive, {}).finally(() => incoming.close());
    const names = { extraReferences: [{ name: "docker.io/x/packed", isPrefix: true }] };
    await transfer(
      client.transport,
      pack(ImageImportStreamSchema, { stream: incoming.id, forceCompress: true }),
      intoStore("", names),
    );
    await sending;
    const { target } = await client.images.get("docker.io/x/packed:1");
    const manifest = Buffer.concat(await Array.fromAsync(streamBlob(client.content, target.digest)));
    const layers = (JSON.parse(manifest.toString()) as ImageManifest).layers;
    expect(layers).toMatchObject([{ mediaType: expect.stringMatching(/gzip$/) }]);
    expect(await client.snapshotter("overlayfs").stat(sha256(layer))).toMatchObject({ kind: "committed" });
    await clear("docker.io/x/packed:1");
  });

  it("gives back what it is given, and says what it cannot do", async () => {
    const [incoming, outgoing] = [await openStream(client.transport), await openStream(client.transport)];
    const bytes = noise(9, 3_000_000);
    const reading = Array.fromAsync(receiveBytes(outgoing, {}));
    const sending = sendBytes(
      incoming,
      (async function* () {
        yield bytes;
      })(),
      {},
    ).finally(() => incoming.close());
    await transfer(
      client.transport,
      pack(ImageImportStreamSchema, { stream: incoming.id }),
      pack(ImageExportStreamSchema, { stream: outgoing.id }),
    );
    await sending;
    expect(Buffer.compare(Buffer.concat(await reading), bytes)).toBe(0);
    const unknown = pack(ReadStreamSchema, { stream: "x" });
    expect(await codeThrown(transfer(client.transport, unknown, intoStore("x")))).toBe("unimplemented");
    const nowhere = pack(ImageImportStreamSchema, { stream: "nothing" });
    expect(await codeThrown(transfer(client.transport, nowhere, intoStore("x")))).toBe("not_found");
  });

  it("asks the image verifiers, in the order of their names", async () => {
    const image = await imageOf("example.org/verified:1", [10_000]);
    const name = publish(image, "verified");
    await mkdir(join(verifiers, "bin"));
    const put = async (file: string, script: string): Promise<void> => {
      await writeFile(join(verifiers, "bin", file), `#!/bin/sh\n${script}\n`);
      await chmod(join(verifiers, "bin", file), 0o755);
    };
    await put("a", `echo "$@" > ${verifiers}/arguments; cat > ${verifiers}/input`);
    await put("b", "echo no such thing; exit 1");
    expect(await codeThrown(pull(name))).toBe("permission_denied");
    expect(await readFile(join(verifiers, "arguments"), "utf8")).toBe(
      `-name ${name} -digest ${image.manifest.digest} -stdin-media-type application/vnd.oci.descriptor.v1+json\n`,
    );
    expect(JSON.parse(await readFile(join(verifiers, "input"), "utf8"))).toMatchObject({
      digest: image.manifest.digest,
    });
    await put("b", "sleep 30");
    expect(await codeThrown(pull(name))).toBe("deadline_exceeded");
    await put("b", "exit 0");
    await pull(name);
    await isUnpacked(image, name);
    await clear(name);
  });
});
