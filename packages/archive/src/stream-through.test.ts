import { setImmediate as turn } from "node:timers/promises";
import { createZstdDecompress, zstdCompressSync } from "node:zlib";

import { expect, it } from "vitest";

import { through } from "./stream-through.ts";

const FRAME_BYTES = 104;
const CHUNK_BYTES = 256 * 1024;

/** Takes so much from Node's pool that the next piece of `length` ends where the pool ends, and gives a piece that was before it there. */
function fillPool(length: number): Buffer {
  for (;;) {
    const before = Buffer.allocUnsafe(8).fill(7);
    const gap = Buffer.poolSize - length - before.byteOffset - before.length;
    // What is larger than half the pool gets a buffer for itself.
    const isLast = gap >= 0 && gap < Buffer.poolSize / 2;
    Buffer.allocUnsafe(isLast ? gap : Buffer.poolSize / 4);
    if (isLast) return before;
  }
}

it("through frees nothing of Node's pool when small pieces of output come joined", async () => {
  const frames = Array.from({ length: 400 }, () => Uint8Array.from(zstdCompressSync(Buffer.alloc(FRAME_BYTES))));
  async function* source(): AsyncGenerator<Uint8Array> {
    yield* frames;
  }
  const stream = createZstdDecompress({ chunkSize: CHUNK_BYTES });
  const canaries: Buffer[] = [];
  let left = frames.length * FRAME_BYTES;
  let endsOfPools = 0;
  for await (const chunk of through(source(), stream, { isTransient: true, chunkBytes: CHUNK_BYTES })) {
    const { length, buffer, byteOffset } = chunk;
    left -= length;
    if (buffer === canaries.at(-1)?.buffer && byteOffset + length === buffer.byteLength) endsOfPools += 1;
    while (stream.readableLength < Math.min(10 * FRAME_BYTES, left)) await turn();
    canaries.push(fillPool(stream.readableLength));
  }
  expect(left).toBe(0);
  expect(endsOfPools).toBeGreaterThan(10);
  expect(canaries.filter((canary) => !canary.equals(Buffer.alloc(8, 7)))).toEqual([]);
});
