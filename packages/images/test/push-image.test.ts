import { setTimeout as sleep } from "node:timers/promises";

import { writeBlob } from "@berth/core/content";
import type { BuiltImage } from "@berth/testing";
import { buildImage, MemoryContentStore } from "@berth/testing";
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
