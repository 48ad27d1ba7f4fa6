import { codeName, codeOf } from "@berth/errors";
import { MediaType } from "@berth/oci";
import { MemoryContentStore, sha256 } from "@berth/testing";
import { beforeEach, describe, expect, it } from "vitest";

import type { DownloadOptions, FetchContent } from "../src/download-blob.ts";
import { downloadBlob, ingestRef } from "../src/download-blob.ts";

const BYTES = Buffer.alloc(50_000, "a layer");
const blob = { mediaType: MediaType.ociLayer, digest: sha256(BYTES), size: BYTES.length };

describe("downloadBlob", () => {
  let content: MemoryContentStore;
  let fetched: { readonly offset: number; readonly urls: boolean }[];
  let told: number[];

  beforeEach(() => {
    content = new MemoryContentStore();
    fetched = [];
    told = [];
  });

  /** Gives the right bytes, or others where `isWrong` says so. */
  const options = (isWrong: (descriptor: Parameters<FetchContent>[0]) => boolean): DownloadOptions => ({
    content,
    async *fetch(descriptor, { offset }) {
      fetched.push({ offset, urls: descriptor.urls !== undefined });
      const rest = Uint8Array.from(BYTES.subarray(offset));
      yield isWrong(descriptor) ? rest.map((byte) => byte ^ 1) : rest;
    },
    onWriter: (_descriptor, _writer, offset) => told.push(offset),
  });
  const leave = async (bytes: Uint8Array): Promise<void> => {
    await using writer = await content.writer(ingestRef(blob), { expected: blob.digest });
    await writer.write(bytes);
  };
  const stored = (): boolean => Buffer.compare(content.blobs.get(blob.digest)?.bytes ?? new Uint8Array(), BYTES) === 0;

  it("takes from the registry what other places have wrong, and keeps nothing of that", async () => {
    const wrong = options(({ urls }) => urls !== undefined);
    expect(await downloadBlob({ ...blob, urls: ["https://example.org/"] }, wrong)).toBe("stored");
    expect(stored()).toBe(true);
    expect(fetched.map(({ offset, urls }) => [offset, urls])).toEqual([
      [0, true],
      [0, false],
    ]);
    expect(content.ingests.size).toBe(0);
  });

  it.each([
    ["some of it", 5],
    ["all of it", BYTES.length],
  ])("begins afresh when an earlier download left %s wrong", async (_case, length) => {
    await leave(new Uint8Array(length));
    expect(
      await downloadBlob(
        blob,
        options(() => false),
      ),
    ).toBe("stored");
    expect(stored()).toBe(true);
    expect(told).toEqual([length, 0]);
  });

  it("begins afresh once, and keeps nothing", async () => {
    await leave(BYTES.subarray(0, 5));
    const error: unknown = await downloadBlob(
      blob,
      options(() => true),
    ).catch((thrown: unknown) => thrown);
    expect(codeName(codeOf(error))).toBe("failed_precondition");
    expect(fetched.map(({ offset }) => offset)).toEqual([5, 0]);
    expect(content.ingests.size).toBe(0);
  });
});
