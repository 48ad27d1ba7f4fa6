import { setTimeout as sleep } from "node:timers/promises";

import { writeBlob } from "@berth/core/content";
import { isNotFound } from "@berth/errors";
import type { Descriptor } from "@berth/oci";
import { hostPlatform, MediaType, only } from "@berth/oci";
import type { BuiltImage } from "@berth/testing";
import { buildImage, MemoryContentStore, sha256 } from "@berth/testing";
import { describe, expect, it } from "vitest";

import { pushImage } from "../src/index.ts";

const LAYERS = 12;

async function storedImage(): Promise<{ readonly image: BuiltImage; readonly content: MemoryContentStore }> {
  const image = await buildImage({
    name: "example.org/x:1",
    layers: Array.from({ length: LAYERS }, (_, index) => [
      { path: `file-${index}`, type: "file", size: 5, content: Buffer.from("hello") },
    ]),
  });
  const content = new MemoryContentStore();
  for (const [digest, bytes] of image.blobs) await writeBlob(content, digest, [bytes], { digest, size: bytes.length });
  return { image, content };
}

describe("pushImage", () => {
  it("sends no more than so many at once, and begins with another when one is sent and not yet confirmed", async () => {
    const { image, content } = await storedImage();
    const [sending, unconfirmed] = [new Set<string>(), new Set<string>()];
    const most = { sending: 0, unconfirmed: 0 };
    await pushImage(image.manifest, {
      content,
      concurrency: 2,
      async push({ digest }, { onSent }) {
        sending.add(digest);
        unconfirmed.add(digest);
        most.sending = Math.max(most.sending, sending.size);
        most.unconfirmed = Math.max(most.unconfirmed, unconfirmed.size);
        await sleep(2);
        sending.delete(digest);
        onSent?.();
        onSent?.();
        await sleep(20);
        unconfirmed.delete(digest);
      },
    });
    expect(most).toEqual({ sending: 2, unconfirmed: 6 });
  });

  it("uploads blobs, which need not tell that they are sent, and then what refers to them", async () => {
    const { image, content } = await storedImage();
    const pushed: string[] = [];
    await pushImage(image.manifest, { content, push: async ({ digest }) => void pushed.push(digest) });
    expect(pushed).toHaveLength(LAYERS + 2);
    expect(new Set(pushed).size).toBe(LAYERS + 2);
    expect(pushed.at(-1)).toBe(image.manifest.digest);
  });

  it("uploads nothing before what it refers to, also where an index and one inside it list the same", async () => {
    const { image, content } = await storedImage();
    const indexOf = async (...manifests: readonly Descriptor[]): Promise<Descriptor> => {
      const bytes = new TextEncoder().encode(JSON.stringify({ schemaVersion: 2, manifests }));
      const descriptor = { mediaType: MediaType.ociIndex, digest: sha256(bytes), size: bytes.length };
      await writeBlob(content, descriptor.digest, [bytes], descriptor);
      return descriptor;
    };
    const inner = await indexOf(image.manifest);
    const middle = await indexOf(image.manifest, inner);
    const target = await indexOf(inner, image.manifest, middle);
    const pushed: string[] = [];
    await pushImage(target, { content, push: async ({ digest }) => void pushed.push(digest) });
    expect(pushed.slice(LAYERS + 1)).toEqual([image.manifest, inner, middle, target].map(({ digest }) => digest));
  });

  it("without a platform takes all of an index, which must be there", async () => {
    const { image, content } = await storedImage();
    const foreign = { os: "plan9", architecture: "386" };
    const absent = { ...image.manifest, digest: sha256(new Uint8Array(1)), platform: foreign };
    const bytes = new TextEncoder().encode(JSON.stringify({ schemaVersion: 2, manifests: [image.manifest, absent] }));
    const target = { mediaType: MediaType.ociIndex, digest: sha256(bytes), size: bytes.length };
    await writeBlob(content, target.digest, [bytes], target);
    const push = async (): Promise<void> => {};
    await expect(pushImage(target, { content, push })).rejects.toSatisfy(isNotFound);
    await pushImage(target, { content, push, platform: only(hostPlatform()) });
  });

  it("begins with nothing more after a failure, and ends what it has begun", async () => {
    const { image, content } = await storedImage();
    let [begun, ended] = [0, 0];
    const pushing = pushImage(image.manifest, {
      content,
      async push(_, { signal }) {
        begun += 1;
        try {
          if (begun === 2) throw new Error("enough");
          await sleep(10_000, undefined, { signal });
        } finally {
          ended += 1;
        }
      },
    });
    await expect(pushing).rejects.toThrow("enough");
    expect([begun, ended]).toEqual([3, 3]);
  });
});
