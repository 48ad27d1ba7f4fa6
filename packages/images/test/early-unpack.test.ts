import { gzipSync } from "node:zlib";

import { writeTar } from "@berth/archive";
import { codeName, codeOf } from "@berth/errors";
import type { Mount } from "@berth/core/mount";
import type { Snapshotter } from "@berth/core/snapshots";
import { notFound } from "@berth/errors";
import { allPlatforms, type Digest } from "@berth/oci";
import { type BuiltImage, buildImage, MemoryContentStore } from "@berth/testing";
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";

import { type ArchivePlan, EarlyUnpack, planArchive, type RandomAccess, type UnpackOptions } from "../src/index.ts";

const accessTo = (bytes: Uint8Array): RandomAccess => ({
  size: bytes.length,
  readAt: async (offset, length) => bytes.slice(offset, offset + length),
});

async function mustPlan(archive: RandomAccess): Promise<ArchivePlan> {
  const plan = await planArchive(archive);
  if (plan === undefined) throw new Error("the archive cannot be looked ahead at");
  return plan;
}

let image: BuiltImage;
beforeAll(async () => {
  const layer = (name: string) => [{ path: name, type: "file" as const, size: 1, content: new Uint8Array(1) }];
  image = await buildImage({ name: "x/y:1", layers: ["a", "b", "c"].map(layer) });
});

describe("planArchive", () => {
  it("finds what an OCI layout holds without reading its layers", async () => {
    const layers = new Set<string>(image.layers.map(({ digest }) => digest));
    const read: number[] = [];
    const access = accessTo(image.archive);
    const plan = await mustPlan({
      ...access,
      readAt: (offset, length) => {
        read.push(length);
        return access.readAt(offset, length);
      },
    });
    expect(plan.entries).toMatchObject([{ digest: image.manifest.digest }]);
    await using reader = await plan.documents.reader(image.config.digest);
    expect(reader.size).toBe(image.config.size);
    expect(layers.size).toBe(3);
    // Blocks of headers, and the index.
    expect(read.filter((length) => length !== 512)).toHaveLength(3);
  });

  it.each([
    ["a compressed one", async () => gzipSync(image.archive)],
    [
      "another format",
      async () => Buffer.concat(await Array.fromAsync(writeTar([{ path: "manifest.json", type: "file" }]))),
    ],
    ["nothing", async () => new Uint8Array()],
  ])("knows nothing of %s", async (_, archive) => {
    expect(await planArchive(accessTo(await archive()))).toBeUndefined();
  });

  it("does not take a document for what it is not", async () => {
    const damaged = Uint8Array.from(image.archive);
    const config = Buffer.from(image.blobs.get(image.config.digest) ?? []);
    damaged[Buffer.from(damaged.buffer).indexOf(config) + 5] = 0x20;
    const plan = await mustPlan(accessTo(damaged));
    const reading = plan.documents.reader(image.config.digest);
    expect(codeName(codeOf(await reading.catch((error: unknown) => error)))).toBe("failed_precondition");
  });

  it("answers any damage with an answer or a typed error", async () => {
    const property = fc.asyncProperty(
      fc.nat(image.archive.length - 1),
      fc.nat(255),
      fc.boolean(),
      async (at, byte, cut) => {
        const damaged = Uint8Array.from(image.archive);
        damaged[at] = byte;
        const outcome = await planArchive(accessTo(cut ? damaged.subarray(0, at) : damaged)).catch((error: unknown) =>
          codeName(codeOf(error)),
        );
        expect(outcome).not.toBe("unknown");
      },
    );
    await fc.assert(property, { numRuns: 300 });
  });
});

describe("EarlyUnpack", () => {
  function setUp(concurrency: number) {
    const content = new MemoryContentStore();
    const applied: Digest[] = [];
    const committed = new Map<string, string>();
    const keys = new Set<string>();
    const missing = async (key: string): Promise<never> => {
      throw notFound(key);
    };
    const snapshotter = {
      stat: async (key: string) => (committed.has(key) ? { name: key } : missing(key)),
      prepare: async (key: string): Promise<readonly Mount[]> => {
        keys.add(key);
        return [{ type: "bind", source: `/fs/${key}`, target: "", options: ["rw"] }];
      },
      commit: async (name: string, key: string) => void (committed.set(name, key), keys.delete(key)),
      remove: async (key: string) => void keys.delete(key),
    };
    const options: UnpackOptions = {
      content,
      // The rest of a snapshotter is never asked for by unpacking.
      snapshotter: snapshotter as unknown as Snapshotter,
      snapshotterName: "overlayfs",
      platform: allPlatforms,
      concurrency,
      applier: {
        apply: async (descriptor) => {
          applied.push(descriptor.digest);
          const at = image.layers.findIndex(({ digest }) => digest === descriptor.digest);
          return { ...descriptor, digest: image.diffIds[at] ?? descriptor.digest };
        },
      },
    };
    for (const [digest, bytes] of image.blobs) content.blobs.set(digest, { bytes, labels: new Map() });
    return { options, applied, committed, keys };
  }
  const settled = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 20));

  it("unpacks each layer when its blob is stored, in whatever order they come", async () => {
    const { options, applied, committed } = setUp(3);
    const plan = await mustPlan(accessTo(image.archive));
    await using early = new EarlyUnpack(plan, options);
    await settled();
    expect(applied).toEqual([]);
    const [first = [], second = [], third = []] = image.layers.map(({ digest }) => [digest]);
    for (const digest of third) early.stored(digest);
    await settled();
    expect(applied).toEqual(third);
    expect(committed.size).toBe(0);
    for (const digest of first) early.stored(digest);
    await settled();
    expect(committed.size).toBe(1);
    for (const digest of second) early.stored(digest);
    await early.finish();
    expect(committed.size).toBe(3);
  });

  it.each([1, 3])("leaves nothing half made when it is stopped, %d at once", async (concurrency) => {
    const { options, keys } = setUp(concurrency);
    const plan = await mustPlan(accessTo(image.archive));
    {
      await using early = new EarlyUnpack(plan, options);
      for (const { digest } of image.layers.slice(0, 1)) early.stored(digest);
      await settled();
      expect(keys.size).toBeGreaterThan(0);
    }
    expect(keys.size).toBe(0);
  });

  it("does not fail for a layer that cannot be unpacked", async () => {
    const { options, committed } = setUp(3);
    const plan = await mustPlan(accessTo(image.archive));
    const applier = { apply: async () => Promise.reject(notFound("blob")) };
    await using early = new EarlyUnpack(plan, { ...options, applier });
    await early.finish();
    expect(committed.size).toBe(0);
  });

  /** Documents of many images that cannot be read before the gate opens, and then are not there. */
  function listed(count: number) {
    const gate = Promise.withResolvers<void>();
    let reads = 0;
    const reader = async (): Promise<never> => {
      reads += 1;
      await gate.promise;
      throw notFound("blob");
    };
    const entries = Array.from({ length: count }, () => image.manifest);
    return { plan: { entries, documents: { reader } }, openGate: gate.resolve, reads: () => reads };
  }

  it("reads only some of the images of a large index, and few of those at once", async () => {
    const { plan, openGate, reads } = listed(20_000);
    await using early = new EarlyUnpack(plan, setUp(1).options);
    await settled();
    const atOnce = reads();
    openGate();
    await early.finish();
    expect(atOnce).toBeGreaterThan(1);
    expect(atOnce).toBeLessThanOrEqual(16);
    expect(reads()).toBeGreaterThan(16);
    expect(reads()).toBeLessThanOrEqual(100);
  });

  it("reads no more images when it is stopped", async () => {
    const { plan, openGate, reads } = listed(60);
    const early = new EarlyUnpack(plan, setUp(1).options);
    await settled();
    const before = reads();
    const stopping = early[Symbol.asyncDispose]();
    openGate();
    await stopping;
    expect(reads()).toBe(before);
  });
});
