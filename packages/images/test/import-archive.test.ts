import { gunzipSync } from "node:zlib";

import type { TarEntryInput, TarEntryWithContent } from "@berth/archive";
import { writeTar } from "@berth/archive";
import { Code, codeOf } from "@berth/errors";
import { allPlatforms, hostPlatform, onlyStrict, parsePlatform } from "@berth/oci";
import { buildImage, seededRandom, sha256 } from "@berth/testing";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

import type { ImportOptions } from "../src/index.ts";
import { importArchive } from "../src/index.ts";
import { MemoryContentStore } from "@berth/testing";

type Entry = TarEntryWithContent | TarEntryInput;

const encoder = new TextEncoder();
const file = (path: string, text: string | Uint8Array): TarEntryWithContent => {
  const content = typeof text === "string" ? encoder.encode(text) : text;
  return { path, type: "file", size: content.length, content };
};
const blobPath = (text: string): string => `blobs/${sha256(encoder.encode(text)).replace(":", "/")}`;
const blob = (text: string): TarEntryWithContent => file(blobPath(text), text);
const pack = async (entries: readonly Entry[]): Promise<Uint8Array> =>
  Buffer.concat(await Array.fromAsync(writeTar(entries as readonly TarEntryWithContent[])));
async function* stream(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < bytes.length; at += 1000) yield bytes.subarray(at, at + 1000);
}
const layout = file("oci-layout", `{"imageLayoutVersion":"1.0.0"}`);

/** Imports and tells the code of the failure; whatever the outcome, no ingest may be left. */
async function outcome(archive: Uint8Array, options: Partial<ImportOptions> = {}): Promise<Code | undefined> {
  const content = new MemoryContentStore();
  const error = await importArchive(stream(archive), { content, ...options }).then(
    () => undefined,
    (thrown: unknown) => ({ thrown }),
  );
  expect([...content.ingests.keys()]).toEqual([]);
  return error === undefined ? undefined : codeOf(error.thrown);
}

const manifest = JSON.stringify({
  schemaVersion: 2,
  config: { mediaType: "application/vnd.oci.image.config.v1+json", digest: sha256(encoder.encode("{}")), size: 2 },
  layers: [],
});
const index = (change: object = {}, top: object = {}): TarEntryWithContent =>
  file(
    "index.json",
    JSON.stringify({
      schemaVersion: 2,
      manifests: [
        {
          mediaType: "application/vnd.oci.image.manifest.v1+json",
          digest: sha256(encoder.encode(manifest)),
          size: manifest.length,
          annotations: { "org.opencontainers.image.ref.name": "v1" },
          ...change,
        },
      ],
      ...top,
    }),
  );
const good = [layout, index(), blob(manifest), blob("{}")];
const docker = (entry: object): TarEntryWithContent =>
  file("manifest.json", JSON.stringify([{ Config: "c.json", Layers: ["l.tar"], RepoTags: ["a"], ...entry }]));
const config = file("c.json", JSON.stringify({ os: "linux", architecture: "amd64", rootfs: { diff_ids: [] } }));

describe("importArchive", () => {
  it("holds no chunk of an archive any more when it gives it back", async () => {
    const bytes = seededRandom(5).bytes(900_000);
    const archive = await pack([...good, file(`blobs/${sha256(bytes).replace(":", "/")}`, bytes)]);
    // Of sizes that are passed through, joined, and cut inside of a header.
    async function* chunks(): AsyncGenerator<Uint8Array, void, undefined> {
      for (let at = 0, size = 700; at < archive.length; at += size, size = size > 300_000 ? 700 : size * 3) {
        yield Uint8Array.from(archive.subarray(at, at + size));
      }
    }
    const content = new MemoryContentStore();
    await importArchive(chunks(), { content, release: (chunk) => chunk.fill(0xff) });
    const reader = await content.reader(sha256(bytes));
    expect(Buffer.from(await reader.readAt(0, reader.size)).equals(bytes)).toBe(true);
  });

  it.each<[string, Entry[], Code | undefined]>([
    ["a small OCI layout", good, undefined],
    ["./ before names", good.map((entry) => ({ ...entry, path: `./${entry.path}` })), undefined],
    ["a small Docker archive", [docker({}), config, file("l.tar", "x")], undefined],
    [
      "a hard link to a layer",
      [docker({}), config, file("m.tar", "x"), { path: "l.tar", type: "link", linkPath: "m.tar" }],
      undefined,
    ],
    ["the same entry twice", [...good, ...good], undefined],
    ["nothing", [], Code.InvalidArgument],
    ["something else", [file("hello", "x")], Code.InvalidArgument],
    ["a name that leads out", [...good, file("../../etc/passwd", "x")], Code.InvalidArgument],
    ["an absolute name", [...good, file("/etc/passwd", "x")], Code.InvalidArgument],
    [
      "a link that leads out",
      [...good, { path: "l", type: "symlink", linkPath: "../../etc/passwd" }],
      Code.InvalidArgument,
    ],
    [
      "a hard link that leads out",
      [...good, { path: "l", type: "link", linkPath: "/etc/passwd" }],
      Code.InvalidArgument,
    ],
    [
      "a layer that is a dangling link",
      [docker({}), config, { path: "l.tar", type: "symlink", linkPath: "none" }],
      Code.InvalidArgument,
    ],
    ["a missing config", [docker({}), file("l.tar", "x")], Code.InvalidArgument],
    ["a config that is no JSON", [docker({}), file("c.json", "x"), file("l.tar", "x")], Code.InvalidArgument],
    [
      "a bad name in a Docker archive",
      [docker({ RepoTags: ["A B"] }), config, file("l.tar", "x")],
      Code.InvalidArgument,
    ],
    ["layers that are no strings", [docker({ Layers: [1] }), config], Code.InvalidArgument],
    ["no Config", [docker({ Config: 1 }), config], Code.InvalidArgument],
    ["manifest.json that is no list", [file("manifest.json", "{}")], Code.InvalidArgument],
    ["manifest.json that is no JSON", [file("manifest.json", "[")], Code.InvalidArgument],
    ["an unknown version", [file("oci-layout", `{"imageLayoutVersion":"2.0.0"}`), index()], Code.InvalidArgument],
    ["oci-layout that is no JSON", [file("oci-layout", "x"), index()], Code.InvalidArgument],
    ["no index", [layout, blob(manifest)], Code.InvalidArgument],
    ["an index that is no JSON", [layout, file("index.json", "x")], Code.InvalidArgument],
    ["an index that is a manifest too", [layout, index({}, { layers: [{}] }), blob(manifest)], Code.InvalidArgument],
    ["a descriptor with a bad digest", [layout, index({ digest: "sha256:../../x" })], Code.InvalidArgument],
    ["a descriptor of negative size", [layout, index({ size: -1 }), blob(manifest)], Code.InvalidArgument],
    ["a manifest that is missing", [layout, index()], Code.NotFound],
    [
      "another platform only",
      [layout, index({ platform: { os: "plan9", architecture: "386" } }), blob(manifest)],
      Code.NotFound,
    ],
    ["a blob of another digest", [layout, index(), file(blobPath(manifest), `${manifest} `)], Code.FailedPrecondition],
    ["two indexes", [layout, index(), index({ size: 1 }), blob(manifest)], Code.InvalidArgument],
  ])("answers %s", async (_, entries, code) => {
    expect(await outcome(await pack(entries))).toBe(code);
  });

  it("tells of its index once, however often that comes", async () => {
    const told: string[] = [];
    const again = Array.from({ length: 50 }, () => index());
    const onIndex = async ({ digest }: { digest: string }): Promise<void> => void told.push(digest);
    expect(await outcome(await pack([...good, ...again]), { onIndex })).toBeUndefined();
    expect(told).toHaveLength(1);
  });

  it("stops at its budgets", async () => {
    expect(await outcome(await pack(good), { budgets: { maxEntries: 2 } })).toBe(Code.ResourceExhausted);
    expect(await outcome(await pack(good), { budgets: { maxFileBytes: 20 } })).toBe(Code.ResourceExhausted);
    const large = [...good, file("manifest.json", new Uint8Array(21 << 20))];
    expect(await outcome(await pack(large))).toBe(Code.ResourceExhausted);
  });

  it("answers a truncated archive with data_loss", async () => {
    const { archive } = await buildImage({
      name: "x/y:1",
      layers: [[file("a", new Uint8Array(5000))]],
      compression: "none",
    });
    expect(await outcome(archive.subarray(0, 4000))).toBe(Code.DataLoss);
  });

  it("answers any damage with a typed error and leaves no ingest", async () => {
    const archive = await pack(good);
    const codes = [
      undefined,
      Code.InvalidArgument,
      Code.DataLoss,
      Code.FailedPrecondition,
      Code.NotFound,
      Code.ResourceExhausted,
    ];
    const damage = fc.array(fc.tuple(fc.nat(archive.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(damage, async (changes) => {
        const broken = new Uint8Array(archive);
        for (const [at, value] of changes) broken[at] = value;
        expect(codes).toContain(await outcome(broken));
      }),
      { numRuns: 300 },
    );
  });

  it.each<[Partial<ImportOptions>, string[]]>([
    [{}, [`import-${new Date().toISOString().slice(0, 10)}:v1`]],
    [{ baseName: "docker.io/b" }, ["docker.io/b:v1"]],
    [{ baseName: "b", digests: true }, ["b:v1", `b@${sha256(encoder.encode(manifest))}`]],
    [{ baseName: "b", digests: true, skipDigestForNamed: true }, ["b:v1"]],
    [{ baseName: "b", indexName: "all" }, ["all", "b:v1"]],
  ])("names images by %j", async (options, names) => {
    const { images } = await importArchive(stream(await pack(good)), { content: new MemoryContentStore(), ...options });
    expect(images.map(({ name }) => name)).toEqual(names);
  });

  it("labels only what fits the platform", async () => {
    const content = new MemoryContentStore();
    const archive = await pack([
      layout,
      index({ platform: { os: "linux", architecture: "s390x" } }),
      blob(manifest),
      blob("{}"),
    ]);
    const other = importArchive(stream(archive), { content, platform: onlyStrict(hostPlatform()) });
    expect(codeOf(await other.catch((error: unknown) => error))).toBe(Code.NotFound);
    const result = await importArchive(stream(archive), {
      content,
      platform: onlyStrict(parsePlatform("linux/s390x")),
    });
    const kept = (await content.info(result.index.digest)).labels;
    expect(kept).toEqual(new Map([["containerd.io/gc.ref.content.m.0", sha256(encoder.encode(manifest))]]));
    await importArchive(stream(archive), { content, platform: allPlatforms });
  });

  it("uses the compressed form of a Docker layer that is in the store", async () => {
    const content = new MemoryContentStore();
    const compressed = new Uint8Array([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0, 1]);
    const labels = new Map([["containerd.io/uncompressed", sha256(encoder.encode("x"))]]);
    content.blobs.set(sha256(compressed), { bytes: compressed, labels });
    const { images } = await importArchive(stream(await pack([docker({}), config, file("l.tar", "x")])), {
      content,
      platform: allPlatforms,
    });
    const [image] = images;
    const { layers } = JSON.parse(
      Buffer.from(content.blobs.get(image?.target.digest as never)?.bytes ?? []).toString(),
    );
    expect(layers).toEqual([
      { mediaType: "application/vnd.docker.image.rootfs.diff.tar.gzip", digest: sha256(compressed), size: 11 },
    ]);
  });

  it("stores layers of a Docker archive by gzip where it is told to, and refuses one that is not its configuration's", async () => {
    const layer = "x".repeat(5000);
    const archive = (diffId: string) =>
      pack([
        docker({}),
        file(
          "c.json",
          JSON.stringify({ os: "linux", architecture: "amd64", rootfs: { type: "layers", diff_ids: [diffId] } }),
        ),
        file("l.tar", layer),
      ]);
    const content = new MemoryContentStore();
    const options = { content, platform: allPlatforms, compressLayers: true };
    const { images } = await importArchive(stream(await archive(sha256(encoder.encode(layer)))), options);
    const bytesOf = (digest: string | undefined): Uint8Array =>
      content.blobs.get(digest as never)?.bytes ?? encoder.encode("");
    const { layers } = JSON.parse(Buffer.from(bytesOf(images[0]?.target.digest)).toString());
    expect(layers).toMatchObject([{ mediaType: "application/vnd.docker.image.rootfs.diff.tar.gzip" }]);
    expect(gunzipSync(bytesOf(layers[0].digest)).toString()).toBe(layer);
    const wrong = archive(sha256(encoder.encode("y")));
    const failure = await importArchive(stream(await wrong), { ...options, content: new MemoryContentStore() }).catch(
      (error: unknown) => codeOf(error),
    );
    expect(failure).toBe(Code.FailedPrecondition);
  });
});
