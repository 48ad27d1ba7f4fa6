import { randomBytes } from "node:crypto";
import { constants, gzipSync, zstdCompressSync } from "node:zlib";

import { codeName, codeOf } from "@berth/errors";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { detectCompression } from "./compression.ts";
import { decompress } from "./decompress.ts";

async function* pieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function plain(bytes: Uint8Array, size = 1000, budgets = {}): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(decompress(pieces(bytes, size), { budgets })));
}

/** Every other frame ends in a checksum. */
const zstdOptions = (i: number) => ({ params: { [constants.ZSTD_c_checksumFlag]: i % 2 } });

const skippable = Buffer.from([0x5f, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);

describe("detectCompression", () => {
  it.each([
    ["gzip", [0x1f, 0x8b, 0x08, 0]],
    ["zstd", [0x28, 0xb5, 0x2f, 0xfd]],
    ["zstd", [0x50, 0x2a, 0x4d, 0x18]],
    ["zstd", [0x5f, 0x2a, 0x4d, 0x18]],
    ["none", [0x60, 0x2a, 0x4d, 0x18]],
    ["none", [0x1f, 0x8b]],
    ["none", [0x75, 0x73, 0x74, 0x61, 0x72]],
    ["none", []],
  ])("says %s for %j", (compression, start) => {
    expect(detectCompression(Uint8Array.from(start))).toBe(compression);
  });
});

describe("decompress", () => {
  const pack = {
    gzip: (parts: readonly Uint8Array[]) => Buffer.concat(parts.map((part) => gzipSync(part))),
    zstd: (parts: readonly Uint8Array[]) =>
      Buffer.concat(parts.flatMap((part, i) => [skippable, zstdCompressSync(part, zstdOptions(i))])),
    none: (parts: readonly Uint8Array[]) => Buffer.concat(parts),
  };

  it.each(["gzip", "zstd", "none"] as const)("gives back %s of many members, wherever it is cut", async (kind) => {
    const part = fc.oneof(
      fc.uint8Array({ maxLength: 2000 }),
      fc.nat(300_000).map((length) => new Uint8Array(length)),
      fc.nat(200_000).map((length) => randomBytes(length)),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(part, { minLength: 1, maxLength: 4 }),
        fc.integer({ min: 1, max: 70_000 }),
        async (parts, size) => {
          // byte by byte, 200 kB would take seconds
          const packed = pack[kind](parts);
          expect((await plain(packed, Math.max(size, packed.length >> 8))).equals(Buffer.concat(parts))).toBe(true);
        },
      ),
      { numRuns: 60 },
    );
  });

  it.each(["gzip", "zstd"] as const)("reports %s that is cut off, at any place", async (kind) => {
    const packed = pack[kind]([randomBytes(5000), randomBytes(100)]);
    const whole = pack[kind]([randomBytes(5000)]).length;
    for (const length of [5, 12, 30, 2000, whole - 1, whole + 3, packed.length - 1]) {
      const error = await plain(packed.subarray(0, length)).catch((thrown: unknown) => thrown);
      expect([length, codeName(codeOf(error))]).toEqual([length, "data_loss"]);
    }
  });

  it.each([
    ["gzip with a wrong checksum", (g: Buffer) => g.fill(0, g.length - 8, g.length - 4), pack.gzip],
    ["gzip with garbage inside", (g: Buffer) => g.fill(0xff, 1000, 1100), pack.gzip],
    ["zstd with garbage inside", (z: Buffer) => z.fill(0xff, 12, 40), pack.zstd],
    ["zstd with garbage behind", (z: Buffer) => Buffer.concat([z, Buffer.from("garbage")]), pack.zstd],
    [
      "gzip with garbage behind",
      (g: Buffer) => Buffer.concat([g, Buffer.from([0x1f, 0x8b, 9, 9, 9, 9, 9, 9, 9, 9, 9])]),
      pack.gzip,
    ],
  ])("rejects %s", async (_, change, packer) => {
    const text = Buffer.from(Array.from({ length: 4000 }, (_unused, i) => `line ${i * 7919}`).join("\n"));
    const error = await plain(change(packer([text]))).catch((thrown: unknown) => thrown);
    expect(["invalid_argument", "data_loss"]).toContain(codeName(codeOf(error)));
  });

  it("ends at zeros behind a gzip member", async () => {
    expect((await plain(Buffer.concat([gzipSync("hello"), new Uint8Array(9000)]))).toString()).toBe("hello");
  });

  it.each(["gzip", "zstd"] as const)("stops a bomb of %s by size and by ratio", async (kind) => {
    const bomb = pack[kind]([new Uint8Array(2 ** 24)]);
    const run = (budgets: object): Promise<unknown> => plain(bomb, 1000, budgets).catch((thrown: unknown) => thrown);
    expect(codeName(codeOf(await run({ maxBytes: 2 ** 20 })))).toBe("resource_exhausted");
    expect(codeName(codeOf(await run({ maxRatio: 100, ratioFloor: 2 ** 20 })))).toBe("resource_exhausted");
    expect(await run({})).toHaveLength(2 ** 24);
  });

  it("closes the source when the loop is left, and passes its error on", async () => {
    let closed = false;
    const packed = gzipSync(randomBytes(100_000));
    async function* source(): AsyncGenerator<Uint8Array> {
      try {
        yield* pieces(packed, 1000);
      } finally {
        closed = true;
      }
    }
    for await (const _ of decompress(source())) break;
    expect(closed).toBe(true);
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield packed.subarray(0, 5000);
      throw new Error("the disk is gone");
    }
    await expect(Array.fromAsync(decompress(broken()))).rejects.toThrow("the disk is gone");
  });
});

describe("decompress, transient", () => {
  const bytes = randomBytes(3_000_000);

  it.each([
    ["none", bytes],
    ["gzip", gzipSync(bytes)],
    ["zstd", zstdCompressSync(bytes)],
  ])("%s: gives the same bytes, and frees each chunk when the next one is asked for", async (_kind, packed) => {
    async function* own(): AsyncGenerator<Uint8Array> {
      for await (const piece of pieces(packed, 700_000)) yield Uint8Array.from(piece);
    }
    const seen: Uint8Array[] = [];
    const copies: Buffer[] = [];
    for await (const chunk of decompress(own(), { isTransient: true })) {
      expect(chunk.length).toBeGreaterThan(0);
      copies.push(Buffer.from(chunk));
      seen.push(chunk);
    }
    expect(Buffer.concat(copies).equals(bytes)).toBe(true);
    expect(seen.filter(({ length }) => length > 0).length).toBeLessThan(seen.length / 2);
  });

  it("frees by other means what is not compressed, once each chunk, when the next one is asked for", async () => {
    const chunks = [bytes.subarray(0, 5), bytes.subarray(5, 10), bytes.subarray(10, 15)];
    const freed: Uint8Array[] = [];
    const taken: number[] = [];
    // A source need not be there as a whole.
    async function* source(): AsyncGenerator<Uint8Array> {
      yield* chunks;
    }
    for await (const _ of decompress(source(), { compression: "none", release: (chunk) => freed.push(chunk) })) {
      taken.push(freed.length);
    }
    expect(taken).toEqual([0, 1, 2]);
    expect(freed).toEqual(chunks);
  });
});
