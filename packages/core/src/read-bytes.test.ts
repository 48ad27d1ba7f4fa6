import { codeName, codeOf } from "@berth/errors";
import fc from "fast-check";
import { expect, it } from "vitest";

import { readBytes } from "./read-bytes.ts";

/** As a stream does that fills one piece of memory again and again. */
async function* inPieces(lengths: readonly number[]): AsyncIterable<Uint8Array> {
  const memory = new Uint8Array(50_000);
  let value = 0;
  for (const length of lengths) yield memory.subarray(0, length).fill((value += 1));
}

const expected = (lengths: readonly number[]): Buffer =>
  Buffer.concat(lengths.map((length, index) => Buffer.alloc(length, index + 1)));

it("readBytes gives all bytes of chunks of any size, in memory of their own, or says that they are too many", async () => {
  const lengths = fc.array(fc.oneof(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 50_000 })));
  await fc.assert(
    fc.asyncProperty(lengths, fc.integer({ min: 0, max: 400_000 }), async (pieces, limit) => {
      const all = expected(pieces);
      const read = readBytes(inPieces(pieces), limit, "it");
      if (all.length > limit)
        expect(codeName(codeOf(await read.catch((error: unknown) => error)))).toBe("resource_exhausted");
      else {
        const bytes = await read;
        expect(all.equals(bytes)).toBe(true);
        expect(bytes.buffer.byteLength).toBe(bytes.length);
      }
    }),
  );
});

it("readBytes reads no further than it must to know that it is too much", async () => {
  let asked = 0;
  async function* endless(): AsyncIterable<Uint8Array> {
    for (;;) {
      asked += 1;
      yield new Uint8Array(1000);
    }
  }
  await expect(readBytes(endless(), 10_000, "it")).rejects.toThrow();
  expect(asked).toBe(11);
});
