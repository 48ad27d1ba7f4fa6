import { codeName, codeOf, notFound } from "@berth/errors";
import type { Descriptor, Digest } from "@berth/oci";
import { EROFS_LAYER, hostPlatform, MediaType, only } from "@berth/oci";
import type { BuiltImage } from "@berth/testing";
import { buildImage, MemoryContentStore, sha256 } from "@berth/testing";
import { beforeEach, describe, expect, it } from "vitest";

import type { FetchImageOptions } from "../src/index.ts";
import { fetchImage } from "../src/index.ts";

const platform = only(hostPlatform());

describe("fetchImage", () => {
  let image: BuiltImage;
  let store: MemoryContentStore;
  let fetched: (readonly [string, number])[];

  beforeEach(async () => {
    const layer = (text: string) =>
      [{ path: text, type: "file", size: 100_000, content: Buffer.alloc(100_000, text) }] as const;
    image = await buildImage({ name: "x:1", layers: [layer("a"), layer("b"), layer("c")], compression: "none" });
    store = new MemoryContentStore();
    fetched = [];
  });

  const options = (more: Partial<FetchImageOptions> = {}): FetchImageOptions => ({
    content: store,
    platform,
    async *fetch({ digest }, { offset }) {
      fetched.push([digest, offset]);
      const bytes = image.blobs.get(digest);
      if (bytes === undefined) throw notFound(digest);
      for (let at = offset; at < bytes.length; at += 10_000) yield Uint8Array.from(bytes.subarray(at, at + 10_000));
    },
    ...more,
  });
  const ids = (descriptors: readonly Descriptor[]): string[] => descriptors.map(({ digest }) => digest).sort();

  it("stores every blob, each once, labelled with what it refers to", async () => {
    await fetchImage(image.manifest, options());
    expect([...store.blobs.keys()].sort()).toEqual([...image.blobs.keys()].sort());
    expect(fetched.map(([digest]) => digest).sort()).toEqual([...image.blobs.keys()].sort());
    const { labels } = await store.info(image.manifest.digest);
    expect(labels.get("containerd.io/gc.ref.content.config")).toBe(image.config.digest);
    expect(labels.get("containerd.io/gc.ref.content.l.2")).toBe(image.layers[2]?.digest);
  });

  it("downloads nothing twice", async () => {
    await fetchImage(image.manifest, options());
    fetched = [];
    const states: string[] = [];
    await fetchImage(image.manifest, options({ onStored: (_descriptor, state) => states.push(state) }));
    expect(fetched).toEqual([]);
    expect(new Set(states)).toEqual(new Set(["exists"]));
  });

  it("tells of the layers before they are downloaded, and leaves out those that are not needed", async () => {
    const told: string[][] = [];
    await fetchImage(
      image.manifest,
      options({
        onLayers: (layers) => void told.push(ids(layers)),
        needsLayer: async ({ digest }) => digest !== image.layers[0]?.digest,
      }),
    );
    expect(told).toEqual([ids(image.layers)]);
    expect(store.blobs.has(image.layers[0]?.digest ?? image.config.digest)).toBe(false);
    expect(store.blobs.size).toBe(image.blobs.size - 1);
  });

  it("tells what a document describes before any of that", async () => {
    const told: string[] = [];
    await fetchImage(
      image.manifest,
      options({
        onChildren: (parent, children) => told.push(parent.digest, ...ids(children)),
        onStored: ({ digest }) => told.push(digest),
      }),
    );
    const { manifest, config, layers } = image;
    expect(told.slice(0, 1)).toEqual([manifest.digest]);
    expect(told.slice(1, 6)).toEqual([manifest.digest, ...ids([config, ...layers])]);
    expect(told.slice(6).toSorted()).toEqual(ids([config, ...layers]));
  });

  it("goes on where an earlier download was broken off", async () => {
    const { fetch } = options();
    const broken = options({
      async *fetch(descriptor, at) {
        let sent = 0;
        for await (const chunk of fetch(descriptor, at)) {
          if (sent >= 50_000) throw new Error("broken");
          sent += chunk.length;
          yield chunk;
        }
      },
    });
    await expect(fetchImage(image.manifest, broken)).rejects.toThrow("broken");
    fetched = [];
    await fetchImage(image.manifest, options());
    expect(fetched.some(([, offset]) => offset === 50_000)).toBe(true);
    expect(store.blobs.size).toBe(image.blobs.size);
  });

  it("keeps nothing of wrong bytes, and stores the right ones later", async () => {
    const { fetch } = options();
    const wrong = options({
      async *fetch(descriptor, at) {
        for await (const chunk of fetch(descriptor, at)) yield chunk.map((byte) => byte ^ 1);
      },
    });
    expect(await fetchImage(image.manifest, wrong).catch((error: unknown) => codeName(codeOf(error)))).toBe(
      "failed_precondition",
    );
    expect(store.ingests.size).toBe(0);
    await fetchImage(image.manifest, options());
    expect(store.blobs.size).toBe(image.blobs.size);
  });

  it("takes what fits the platform from an index", async () => {
    const foreign = new TextEncoder().encode("{}");
    const manifests = [
      {
        mediaType: MediaType.ociManifest,
        digest: sha256(foreign),
        size: foreign.length,
        platform: { os: "plan9", architecture: "mips" },
      },
      { ...image.manifest, platform: hostPlatform() },
    ];
    const bytes = new TextEncoder().encode(
      JSON.stringify({ schemaVersion: 2, mediaType: MediaType.ociIndex, manifests }),
    );
    const index = { mediaType: MediaType.ociIndex, digest: sha256(bytes), size: bytes.length };
    image = { ...image, blobs: new Map([...image.blobs, [index.digest, bytes], [sha256(foreign), foreign]]) };
    await fetchImage(index, options());
    expect(store.blobs.has(sha256(foreign))).toBe(false);
    expect(store.blobs.has(image.manifest.digest)).toBe(true);
    const nothing = { ...platform, matches: () => false };
    store = new MemoryContentStore();
    expect(
      await fetchImage(index, options({ platform: nothing })).catch((error: unknown) => codeName(codeOf(error))),
    ).toBe("not_found");
  });

  it.each<readonly [string, Partial<FetchImageOptions>, readonly string[]]>([
    ["the best", {}, ["a"]],
    ["all that are as good as the best", { manifestLimit: 0 }, ["a", "c", "none"]],
    ["two of those", { manifestLimit: 2 }, ["a", "c"]],
    ["all that fit", { everyPlatform: true }, ["a", "c", "worse", "none"]],
    ["the best three of all that fit", { everyPlatform: true, manifestLimit: 3 }, ["a", "c", "worse"]],
    [
      "all, where there are fewer than the limit",
      { everyPlatform: true, manifestLimit: 9 },
      ["a", "c", "worse", "none"],
    ],
  ])("takes %s from an index", async (_case, more, expected) => {
    const stored = new Map<Digest, Uint8Array>();
    const byName = new Map<string, unknown>();
    const add = (mediaType: string, value: unknown): Descriptor => {
      const bytes = new TextEncoder().encode(JSON.stringify(value));
      stored.set(sha256(bytes), bytes);
      byName.set(sha256(bytes), Object(value).annotations?.name);
      return { mediaType, digest: sha256(bytes), size: bytes.length };
    };
    const manifestOf = (name: string) => {
      const config = add(MediaType.ociConfig, { name });
      return add(MediaType.ociManifest, { schemaVersion: 2, config, layers: [], annotations: { name } });
    };
    const arm = (variant: string) => ({ os: "linux", architecture: "arm", variant });
    const index = add(MediaType.ociIndex, {
      schemaVersion: 2,
      manifests: [
        manifestOf("none"),
        { ...manifestOf("foreign"), platform: { os: "plan9", architecture: "mips" } },
        { ...manifestOf("worse"), platform: arm("v6") },
        { ...manifestOf("a"), platform: arm("v7") },
        { ...manifestOf("c"), platform: arm("v7") },
      ],
    });
    image = { ...image, blobs: stored };
    await fetchImage(index, options({ platform: only(arm("v7")), ...more }));
    const names = fetched.map(([digest]) => byName.get(digest)).filter((name) => name !== undefined);
    expect(names).toEqual(expected);
  });

  it("takes EROFS layers for layers: those of other platforms are not fetched", async () => {
    const blobs = new Map(image.blobs);
    const add = (mediaType: string, value: unknown): Descriptor => {
      const bytes = new TextEncoder().encode(JSON.stringify(value));
      blobs.set(sha256(bytes), bytes);
      return { mediaType, digest: sha256(bytes), size: bytes.length };
    };
    const manifestOf = (layer: Descriptor) =>
      add(MediaType.ociManifest, { schemaVersion: 2, config: image.config, layers: [layer] });
    const [own, foreign] = [EROFS_LAYER, `${EROFS_LAYER}+zstd`].map((type) => add(type, { type }));
    if (own === undefined || foreign === undefined) throw new Error("there are two");
    const elsewhere = { ...manifestOf(foreign), platform: { os: "plan9", architecture: "mips" } };
    const index = add(MediaType.ociIndex, {
      schemaVersion: 2,
      manifests: [elsewhere, { ...manifestOf(own), platform: hostPlatform() }],
    });
    image = { ...image, blobs };
    const told: string[][] = [];
    await fetchImage(index, options({ allMetadata: true, onLayers: (layers) => void told.push(ids(layers)) }));
    expect(told).toEqual([[own.digest]]);
    const stored = [own, elsewhere, foreign].map(({ digest }) => store.blobs.has(digest));
    expect(stored).toEqual([true, true, false]);
  });

  it("ends the other downloads when one fails", async () => {
    const { fetch } = options();
    let running = 0;
    const failing = options({
      async *fetch(descriptor, at) {
        running += 1;
        try {
          if (descriptor.digest === image.layers[1]?.digest) throw new Error("gone");
          yield* fetch(descriptor, at);
        } finally {
          running -= 1;
        }
      },
    });
    await expect(fetchImage(image.manifest, failing)).rejects.toThrow("gone");
    expect(running).toBe(0);
  });

  it("downloads more while what has come waits for the disk, but not without end", async () => {
    const layer = (index: number) =>
      [{ path: `f${index}`, type: "file", size: 1, content: Buffer.from([index]) }] as const;
    image = await buildImage({ name: "x:1", layers: Array.from({ length: 6 }, (_, index) => layer(index)) });
    const disk = Promise.withResolvers<void>();
    let waiting = 0;
    const enough = Promise.withResolvers<void>();
    const isLayer = new Set(image.layers.map(({ digest }) => `layer-${digest}`));
    const open = store.writer.bind(store);
    store.writer = async (ref, how) => {
      const writer = await open(ref, how);
      const commit = writer.commit.bind(writer);
      if (isLayer.has(ref))
        writer.commit = async (as) => {
          waiting += 1;
          if (waiting === 3) enough.resolve();
          await disk.promise;
          return commit(as);
        };
      return writer;
    };
    const fetching = fetchImage(image.manifest, options({ concurrency: 1 }));
    await Promise.race([enough.promise, fetching]);
    // Nothing else is waited for: whatever could begin has begun.
    await new Promise((resolve) => setImmediate(resolve));
    expect(fetched.filter(([digest]) => isLayer.has(`layer-${digest}`))).toHaveLength(3);
    disk.resolve();
    await fetching;
    expect([...store.blobs.keys()].sort()).toEqual([...image.blobs.keys()].sort());
  });

  it.each([false, true])(
    "goes once through indexes that list each other many times over, with all metadata: %s",
    async (allMetadata) => {
      const foreign = { os: "plan9", architecture: "386" };
      const add = (...manifests: readonly Descriptor[]): Descriptor => {
        const bytes = new TextEncoder().encode(JSON.stringify({ schemaVersion: 2, manifests }));
        // The image of a recipe is the test's own.
        (image.blobs as Map<Digest, Uint8Array>).set(sha256(bytes), bytes);
        return { mediaType: MediaType.ociIndex, digest: sha256(bytes), size: bytes.length };
      };
      let nested = add(image.manifest);
      for (let depth = 0; depth < 6; depth++) {
        const both = depth === 5 ? [nested, { ...nested, platform: foreign }] : [nested];
        nested = add(...Array.from({ length: 50 }, () => both).flat());
      }
      const stored: string[] = [];
      await fetchImage(nested, options({ allMetadata, onStored: ({ digest }) => stored.push(digest) }));
      expect(stored.length).toBeLessThanOrEqual(2 * image.blobs.size);
      expect(new Set(stored)).toEqual(new Set(image.blobs.keys()));
    },
  );
});
