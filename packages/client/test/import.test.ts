import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { gzipSync, zstdCompressSync } from "node:zlib";

import type { TarEntryWithContent } from "@berth/archive";
import { writeTar } from "@berth/archive";
import { Code, codeOf } from "@berth/errors";
import { checkImage, imagePlatforms, imageSize, isUnpacked } from "@berth/images";
import { hostPlatform, only, onlyStrict } from "@berth/oci";
import { buildImage, sha256, startBerthd, startContainerd } from "@berth/testing";
import type { PeerDaemon } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { importImage, unpackImage } from "../src/import-image.ts";
import type { Client } from "../src/index.ts";
import { createClient } from "../src/index.ts";

const encoder = new TextEncoder();
const file = (path: string, text: string | Uint8Array): TarEntryWithContent => {
  const content = typeof text === "string" ? encoder.encode(text) : text;
  return { path, type: "file", size: content.length, content };
};
const pack = async (entries: readonly TarEntryWithContent[]): Promise<Uint8Array> =>
  Buffer.concat(await Array.fromAsync(writeTar(entries)));
async function* stream(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < bytes.length; at += 10_000) yield bytes.subarray(at, at + 10_000);
}
const layers = [
  [file("a", "one"), { path: "d/", type: "directory" as const, mode: 0o755 }, file("d/x", "two")],
  [file("d/.wh.x", ""), { path: "d/link", type: "symlink" as const, linkPath: "../a" }],
  [file("c", "three")],
];

describe.each([
  ["containerd", () => startContainerd(), []],
  // Its ctr leaves the work to the daemon, which names less.
  ["containerd 2", () => startContainerd({ release: "2" }), ["--local"]],
  ["berthd", startBerthd, []],
])("import over %s", (name, startDaemon, own) => {
  let daemon: PeerDaemon;
  let directory: string;
  const clients: Client[] = [];
  const open = (namespace: string): Client => {
    const client = createClient({ address: daemon.address, namespace });
    clients.push(client);
    return client;
  };

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "berth-client-import-"));
    daemon = await startDaemon();
  });

  afterAll(async () => {
    for (const client of clients) await client[Symbol.asyncDispose]();
    await daemon[Symbol.asyncDispose]();
    await rm(directory, { recursive: true, force: true });
  });

  /** Everything that an import leaves, in a form that can be compared. */
  const traces = async (client: Client) => {
    // What nothing refers to goes when a collection has run.
    await client.leases.create({ id: "collect", labels: new Map() });
    await client.leases.delete("collect", { sync: true });
    const blobs = await Array.fromAsync(client.content.list());
    const images = await Array.fromAsync(client.images.list());
    const snapshots = await Array.fromAsync(client.snapshotter("overlayfs").list());
    return {
      blobs: blobs.map(({ digest, size, labels }) => ({ digest, size, labels: [...labels].toSorted() })),
      images: images.map(({ name, target, labels }) => ({ name, target, labels: [...labels].toSorted() })),
      snapshots: snapshots.map(({ name, parent, kind }) => ({ name, parent, kind })),
    };
  };
  const expectSameAsGo = async (
    name: string,
    archive: Uint8Array,
    flags: readonly string[] = [],
    options = {},
    compress = (bytes: Uint8Array): Uint8Array => bytes,
  ) => {
    const path = join(directory, `${name}.tar`);
    await writeFile(path, archive);
    const go = await daemon.ctr([
      "-n",
      `${name}-go`,
      "images",
      "import",
      ...own,
      "--snapshotter",
      "overlayfs",
      ...flags,
      path,
    ]);
    expect(go.code, go.stderr).toBe(0);
    const ours = open(`${name}-ours`);
    await importImage(ours, stream(compress(archive)), {
      platform: onlyStrict(hostPlatform()),
      unpack: { snapshotter: "overlayfs" },
      ...options,
    });
    const expected = await traces(open(`${name}-go`));
    expect(expected.snapshots).not.toEqual([]);
    expect(await traces(ours)).toEqual(expected);
    return ours;
  };

  it("importImage of an OCI layout leaves what Go's ctr leaves", async () => {
    const { archive } = await buildImage({ name: "example.org/oci:1", layers });
    await expectSameAsGo("oci", archive);
  });

  it.each([
    ["gzip", (bytes: Uint8Array) => gzipSync(bytes)],
    ["zstd", (bytes: Uint8Array) => zstdCompressSync(bytes)],
  ])("importImage takes an archive compressed by %s", async (name, compress) => {
    const { archive } = await buildImage({ name: `example.org/${name}:1`, layers });
    // Debian's ctr takes plain archives only: it gets the same one uncompressed.
    await expectSameAsGo(name, archive, [], {}, compress);
  });

  it("importImage with digests and a base name leaves what Go's ctr leaves", async () => {
    const { archive } = await buildImage({ name: "example.org/digests:1", layers });
    const flags = ["--digests", "--base-name", "example.org/digests"];
    await expectSameAsGo("digests", archive, flags, { digests: true, baseName: "example.org/digests" });
  });

  it("importImage of a Docker archive makes the same manifest as containerd", async () => {
    const client = await expectSameAsGo("docker", await dockerArchive());
    const names = (await Array.fromAsync(client.images.list())).map(({ name }) => name);
    expect(names).toEqual(["docker.io/library/two:latest", "quay.io/one/two:v1"]);
    const { target } = await client.images.get("quay.io/one/two:v1");
    const platform = only(hostPlatform());
    expect(
      await isUnpacked(target, { content: client.content, snapshotter: client.snapshotter("overlayfs"), platform }),
    ).toBe(true);
    expect((await checkImage(client.content, target, platform)).missing).toEqual([]);
    expect(await Array.fromAsync(imagePlatforms(client.content, target))).toEqual([hostPlatform()]);
    expect(await imageSize(client.content, target, platform)).toBeGreaterThan(3000);
  });

  it("unpackImage twice at once does the work once and leaves no extraction snapshot", async () => {
    const client = open("twice");
    const { archive } = await buildImage({ name: "example.org/twice:1", layers });
    await importImage(client, stream(archive));
    const { target } = await client.images.get("example.org/twice:1");
    const states: string[] = [];
    const options = { snapshotter: "overlayfs", onLayer: (_: unknown, state: string) => void states.push(state) };
    const [one, two] = await Promise.all([unpackImage(client, target, options), unpackImage(client, target, options)]);
    expect(one.chainId).toBe(two.chainId);
    expect(states.toSorted()).toEqual(["exists", "exists", "exists", "unpacked", "unpacked", "unpacked"]);
    const kinds = (await Array.fromAsync(client.snapshotter("overlayfs").list())).map(({ kind }) => kind);
    expect(kinds).toEqual(["committed", "committed", "committed"]);
  });

  // Containerd 1.6 cannot give a committed snapshot another parent.
  const sideBySide = name === "berthd" ? it : undefined;
  sideBySide?.("layers unpacked side by side give the same tree, deletions included", async () => {
    const client = open("parallel");
    const { archive } = await buildImage({ name: "example.org/parallel:1", layers });
    await importImage(client, stream(archive));
    const { target } = await client.images.get("example.org/parallel:1");
    const { chainId, chainIds } = await unpackImage(client, target, { snapshotter: "overlayfs", concurrency: 3 });
    const snapshotter = client.snapshotter("overlayfs");
    expect((await snapshotter.stat(chainId)).parent).toBe(chainIds[1]);
    const [view] = await snapshotter.view("look", chainId);
    const place = join(directory, "tree");
    await mkdir(place);
    const run = promisify(execFile);
    await run("mount", ["-t", view?.type ?? "", "-o", view?.options.join(",") ?? "", view?.source ?? "", place]);
    try {
      expect((await readdir(place, { recursive: true })).toSorted()).toEqual(["a", "c", "d", "d/link"]);
    } finally {
      await run("umount", [place]);
    }
  });

  it("unpackImage refuses a layer with another diff id and removes its snapshot", async () => {
    const client = open("diffid");
    const built = await buildImage({ name: "example.org/diffid:1", layers });
    const other = await buildImage({
      name: "example.org/diffid:1",
      layers: [...layers.slice(0, 2), [file("c", "four")]],
    });
    const config = JSON.parse(new TextDecoder().decode(other.blobs.get(other.config.digest)));
    const bytes = encoder.encode(JSON.stringify(config));
    const manifest = encoder.encode(
      JSON.stringify({
        schemaVersion: 2,
        config: { ...built.config, digest: sha256(bytes), size: bytes.length },
        layers: built.layers,
      }),
    );
    const entries = [...built.blobs.values(), bytes, manifest].map((blob) =>
      file(`blobs/${sha256(blob).replace(":", "/")}`, blob),
    );
    const target = {
      ...built.manifest,
      digest: sha256(manifest),
      size: manifest.length,
      annotations: { "org.opencontainers.image.ref.name": "x" },
    };
    const archive = await pack([
      file("oci-layout", `{"imageLayoutVersion":"1.0.0"}`),
      file("index.json", JSON.stringify({ manifests: [target] })),
      ...entries,
    ]);
    const attempt = importImage(client, stream(archive), { unpack: { snapshotter: "overlayfs" } });
    expect(codeOf(await attempt.catch((error: unknown) => error))).toBe(Code.FailedPrecondition);
    const left = await Array.fromAsync(client.snapshotter("overlayfs").list());
    expect(left.map(({ kind }) => kind)).toEqual(["committed", "committed"]);
  });

  it("importImage aborted in the middle of a blob leaves no ingest and no lease", async () => {
    const client = open("aborted");
    const abort = new AbortController();
    const archive = await pack([file("blobs/big", new Uint8Array(8 << 20))]);
    async function* slowly() {
      yield archive.subarray(0, 4 << 20);
      abort.abort();
      yield archive.subarray(4 << 20);
    }
    const attempt = importImage(client, slowly(), { signal: abort.signal });
    expect(codeOf(await attempt.catch((error: unknown) => error))).toBe(Code.Canceled);
    expect(await Array.fromAsync(client.content.listStatuses())).toEqual([]);
    expect(await Array.fromAsync(client.leases.list())).toEqual([]);
  });
});

/** As `docker save` writes it: two images that share a layer by a symbolic link, three names. */
async function dockerArchive(): Promise<Uint8Array> {
  const tars = await Promise.all(layers.map(pack));
  const { os, architecture } = hostPlatform();
  const config = (count: number) =>
    JSON.stringify({
      os,
      architecture,
      config: { Env: ["A=<b>"] },
      rootfs: { type: "layers", diff_ids: tars.slice(0, count).map(sha256) },
    });
  const name = (index: number) => `layer${index}/layer.tar`;
  return pack([
    ...tars.map((tar, index) => file(name(index), tar)),
    { path: "copy/layer.tar", type: "symlink", linkPath: "../layer0/layer.tar" },
    file("layer0/VERSION", "1.0"),
    file("one.json", config(3)),
    file("two.json", config(1)),
    file("three.json", config(2)),
    file(
      "manifest.json",
      JSON.stringify([
        { Config: "one.json", RepoTags: ["quay.io/one/two:v1"], Layers: [name(0), name(1), name(2)] },
        { Config: "two.json", RepoTags: ["two"], Layers: ["copy/layer.tar"] },
        { Config: "three.json", RepoTags: null, Layers: [name(0), name(1)] },
      ]),
    ),
  ]);
}
