import { Readable } from "node:stream";
import { setImmediate as turn } from "node:timers/promises";

import { describe, expect, it } from "vitest";

import { bodyChunks } from "./body-chunks.ts";

function endless(): { readonly stream: Readable; readonly asked: () => number } {
  let asked = 0;
  const stream = new Readable({
    highWaterMark: 64 * 1024,
    read() {
      asked += 1;
      this.push(Buffer.alloc(64 * 1024, asked % 251));
    },
  });
  return { stream, asked: () => asked };
}

describe("bodyChunks", () => {
  it("hands out the chunks as they came, in order", async () => {
    const pieces = Array.from({ length: 500 }, (_, index) => Buffer.alloc(4096 + index, index % 251));
    const received: Uint8Array[] = [];
    for await (const chunk of bodyChunks(Readable.from(pieces, { objectMode: false }))) {
      if (received.length % 7 === 0) await turn();
      received.push(chunk);
    }
    expect(received.map(({ length }) => length)).toEqual(pieces.map(({ length }) => length));
    expect(Buffer.concat(received).equals(Buffer.concat(pieces))).toBe(true);
  });

  it("reads on only while little waits, and closes the body when the loop is left", async () => {
    const { stream, asked } = endless();
    let taken = 0;
    for await (const _ of bodyChunks(stream)) {
      for (let turns = 0; turns < 100; turns += 1) await turn();
      taken += 1;
      expect(asked() - taken).toBeLessThan(24);
      if (taken === 40) break;
    }
    expect(stream.destroyed).toBe(true);
  });

  it("keeps a body that comes byte by byte in few pieces, for whoever reads it late", async () => {
    const bytes = Buffer.from(Array.from({ length: 100_000 }, (_, index) => index % 251));
    const stream = new Readable({ read() {}, highWaterMark: 1 });
    const reading = bodyChunks(stream);
    const first = reading.next();
    for (const byte of bytes) stream.push(Buffer.of(byte));
    stream.push(null);
    const received = [(await first).value ?? Buffer.of()];
    for (let turns = 0; turns < 5; turns += 1) await turn();
    for await (const chunk of reading) received.push(chunk);
    expect(Buffer.concat(received).equals(bytes)).toBe(true);
    expect(received.length).toBeLessThan(5);
  });

  it("passes chunks whose memory their reader has freed", async () => {
    const { stream } = endless();
    let taken = 0;
    for await (const { buffer, length } of bodyChunks(stream)) {
      taken += length;
      if (buffer instanceof ArrayBuffer) buffer.transfer(0);
      if (taken > 5_000_000) break;
    }
    expect(taken).toBeGreaterThan(5_000_000);
  });

  it.each([
    ["an error", (stream: Readable) => stream.destroy(new Error("reset")), "reset"],
    ["a cut", (stream: Readable) => stream.destroy(), "cut off"],
  ])("throws on %s, after what came before", async (_what, cut, message) => {
    const stream = new Readable({ read() {} });
    stream.push(Buffer.alloc(10));
    const reading = (async () => {
      let length = 0;
      for await (const chunk of bodyChunks(stream)) {
        length += chunk.length;
        cut(stream);
      }
      return length;
    })();
    await expect(reading).rejects.toThrow(message);
  });

  it.each([
    ["an error", (stream: Readable) => stream.destroy(new Error("reset")), "reset"],
    ["a cut", (stream: Readable) => stream.destroy(), "cut off"],
  ])("throws on %s before reading", async (_what, cut, message) => {
    const stream = new Readable({ read() {} });
    stream.on("error", () => {});
    stream.push(Buffer.alloc(10));
    cut(stream);
    for (let turns = 0; turns < 3; turns += 1) await turn();
    await expect(Array.fromAsync(bodyChunks(stream))).rejects.toThrow(message);
  });

  it("ends at once with a body that was read before", async () => {
    const stream = Readable.from([Buffer.alloc(10)], { objectMode: false });
    expect(await Array.fromAsync(bodyChunks(stream))).toHaveLength(1);
    expect(await Array.fromAsync(bodyChunks(stream))).toEqual([]);
  });
});
