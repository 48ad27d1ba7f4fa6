import { createHash } from "node:crypto";

import { parseDigest } from "@berth/oci";
import { describe, expect, it } from "vitest";

import { SmallBlobs } from "./small-blobs.ts";

const KIB = 1024;

function blob(size: number, fill = 1) {
  const bytes = new Uint8Array(size).fill(fill);
  return { bytes, digest: parseDigest(`sha256:${createHash("sha256").update(bytes).digest("hex")}`) };
}

describe("SmallBlobs", () => {
  it("keeps a copy of what hashes to its digest, and nothing else", () => {
    const blobs = new SmallBlobs();
    const { bytes, digest } = blob(10);
    blobs.keep(digest, new Uint8Array(10), blobs.age);
    expect(blobs.find(digest)).toBeUndefined();
    blobs.keep(digest, bytes, blobs.age);
    bytes.fill(9);
    expect(blobs.find(digest)).toEqual(new Uint8Array(10).fill(1));
  });

  it.each([
    [32 * KIB, true],
    [32 * KIB + 1, false],
  ])("of %i bytes: kept %s", (size, kept) => {
    const blobs = new SmallBlobs();
    const { bytes, digest } = blob(size);
    blobs.keep(digest, bytes, blobs.age);
    expect(blobs.find(digest) !== undefined).toBe(kept);
  });

  it("does not keep what was opened before a blob was forgotten: it may be the one", () => {
    const blobs = new SmallBlobs();
    const { bytes, digest } = blob(10);
    const { age } = blobs;
    blobs.forget(digest);
    blobs.keep(digest, bytes, age);
    expect(blobs.find(digest)).toBeUndefined();
  });

  it("lets go of those used longest ago when there is more than 1 MiB", () => {
    const blobs = new SmallBlobs();
    const all = Array.from({ length: 33 }, (_, index) => blob(32 * KIB, index));
    const [first, second] = all;
    for (const { bytes, digest } of all) {
      blobs.keep(digest, bytes, blobs.age);
      if (first) blobs.find(first.digest);
    }
    expect(all.filter(({ digest }) => blobs.find(digest) === undefined)).toEqual([second]);
  });
});
