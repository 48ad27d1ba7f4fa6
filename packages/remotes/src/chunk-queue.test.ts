import fc from "fast-check";
import { expect, it } from "vitest";

import { ChunkQueue } from "./chunk-queue.ts";

const BYTES = new Uint8Array(1 << 20).map((_, index) => (index * index) % 251);

it("ChunkQueue gives what was put in, in its order, and counts it", () => {
  const step = fc.oneof(
    fc.constant("take" as const),
    fc.integer({ min: 0, max: 10 }),
    fc.integer({ min: 4000, max: 5000 }),
    fc.integer({ min: 0, max: 200_000 }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), fc.boolean(), (steps, isOwn) => {
      const queue = new ChunkQueue();
      const taken: Uint8Array[] = [];
      let [put, got] = [0, 0];
      const take = (): boolean => {
        const chunk = queue.shift();
        if (chunk === undefined) return false;
        expect(chunk.length).toBeGreaterThan(0);
        got += chunk.length;
        taken.push(chunk);
        return true;
      };
      for (const each of steps) {
        if (each === "take") {
          const isSome = put > got;
          expect(take()).toBe(isSome);
        } else {
          const chunk = BYTES.subarray(put, put + each);
          queue.push(isOwn ? chunk.slice() : chunk);
          put += chunk.length;
        }
        expect(queue.bytes).toBe(put - got);
      }
      while (take());
      expect(Buffer.concat(taken).equals(BYTES.subarray(0, put))).toBe(true);
    }),
  );
});

it.each([
  ["of one byte", 1],
  ["of a few", 1000],
  ["that are small parts of what they lie in", 5000],
])("ChunkQueue keeps chunks %s in few pieces", (_case, length) => {
  const queue = new ChunkQueue();
  for (let at = 0; at < BYTES.length; at += length) queue.push(BYTES.subarray(at, at + length));
  let pieces = 0;
  for (let chunk = queue.shift(); chunk !== undefined; chunk = queue.shift()) {
    pieces += 1;
    expect(chunk.buffer.byteLength).toBe(chunk.length);
  }
  expect(pieces).toBe(16);
});

it.each([1, 3000, 4096, 8200, 30_000, 40_000])(
  "ChunkQueue keeps chunks of %i bytes of 64 KiB in twice their memory",
  (length) => {
    const queue = new ChunkQueue();
    for (let count = 0; count < 50; count += 1) {
      queue.push(new Uint8Array(64 * 1024).subarray(0, length));
      // Which ends what was gathered before.
      queue.push(new Uint8Array(4096));
    }
    const { bytes } = queue;
    let kept = 0;
    for (let chunk = queue.shift(); chunk !== undefined; chunk = queue.shift()) kept += chunk.buffer.byteLength;
    expect(kept).toBeLessThanOrEqual(2 * bytes);
  },
);

it("ChunkQueue gives what was taken out one by one no more memory than that", () => {
  const queue = new ChunkQueue();
  for (let at = 0; at < 100; at += 1) {
    queue.push(BYTES.subarray(at, at + 1));
    expect(queue.shift()?.buffer.byteLength).toBe(1);
  }
});

it("ChunkQueue passes on what is large as it is, and what lies in its own memory", () => {
  const queue = new ChunkQueue();
  const whole = new Uint8Array(16 * 1024);
  queue.push(whole);
  expect(queue.shift()).toBe(whole);
  queue.push(whole);
  queue.clear();
  expect([queue.shift(), queue.bytes]).toEqual([undefined, 0]);
});
