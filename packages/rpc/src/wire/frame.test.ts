import * as fc from "fast-check";
import { Code } from "@connectrpc/connect";
import { codeOf } from "@berth/errors";
import { describe, expect, it } from "vitest";

import { encodeFrame, FrameReader, releaseMessage } from "./frame.ts";
import { percentDecode, percentEncode } from "./status.ts";
import { formatGrpcTimeout, parseGrpcTimeout } from "./timeout.ts";

function cut(data: Uint8Array, sizes: readonly number[]): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  let offset = 0;
  for (const size of sizes) {
    pieces.push(data.subarray(offset, offset + size));
    offset += size;
  }
  return [...pieces, data.subarray(offset)];
}

describe("FrameReader", () => {
  it("gives back every message, however the body is cut", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 300 })), fc.array(fc.nat(40)), (messages, sizes) => {
        const reader = new FrameReader(300);
        const out: Uint8Array[] = [];
        for (const piece of cut(Buffer.concat(messages.map(encodeFrame)), sizes)) {
          reader.push(piece);
          for (let frame = reader.next(); frame !== undefined; frame = reader.next()) out.push(frame.data);
        }
        expect(out.map((one) => Buffer.from(one))).toEqual(messages.map((one) => Buffer.from(one)));
        expect(reader.isInsideFrame).toBe(false);
        expect(reader.bufferedBytes).toBe(0);
      }),
    );
  });

  it("throws only internal and resource_exhausted on garbage, and keeps no more than it was given", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.array(fc.nat(20)), (garbage, sizes) => {
        const reader = new FrameReader(50);
        try {
          for (const piece of cut(garbage, sizes)) {
            reader.push(piece);
            while (reader.next() !== undefined);
            expect(reader.bufferedBytes).toBeLessThanOrEqual(50);
          }
        } catch (error) {
          expect([Code.Internal, Code.ResourceExhausted]).toContain(codeOf(error));
        }
      }),
    );
  });
});

describe("releaseMessage", () => {
  const bytes = new Uint8Array(200_000).fill(7);
  const read = (pieces: readonly Uint8Array[]): Uint8Array[] => {
    const reader = new FrameReader(bytes.length);
    for (const piece of pieces) reader.push(piece);
    return [reader.next(), reader.next()].flatMap((frame) => (frame === undefined ? [] : [frame.data]));
  };

  it("frees a large message that came in pieces, by any part of it, and no other", () => {
    const [first, second] = read(
      cut(Buffer.concat([encodeFrame(bytes), encodeFrame(bytes)]), [65_536, 65_536, 100_000]),
    );
    if (first !== undefined) releaseMessage(first.subarray(100, 200));
    expect(first?.buffer.byteLength).toBe(0);
    expect(second).toEqual(bytes);
  });

  it.each([
    ["that lies in a buffer of its sender", [encodeFrame(bytes)], bytes.length],
    ["that is small", cut(encodeFrame(bytes.subarray(0, 300)), [100]), 300],
  ])("leaves a message %s", (_, pieces, length) => {
    const [message] = read(pieces);
    if (message !== undefined) releaseMessage(message);
    expect(message?.length).toBe(length);
  });
});

describe("percentEncode", () => {
  it("is undone by percentDecode and gives what a header may hold", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (text) => {
        const encoded = percentEncode(text);
        expect(encoded).toMatch(/^([\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?)?$/);
        expect(percentDecode(encoded)).toBe(text);
      }),
    );
  });

  it("survives a lone surrogate", () => expect(percentEncode("\ud800")).toBe("%EF%BF%BD"));
});

describe("grpc-timeout", () => {
  it("never becomes shorter on its way", () => {
    fc.assert(
      fc.property(fc.double({ min: 0.001, max: 1e12, noNaN: true }), (ms) => {
        const parsed = parseGrpcTimeout(formatGrpcTimeout(ms));
        expect(parsed).toBeGreaterThanOrEqual(ms);
        expect(parsed).toBeLessThanOrEqual(ms + 3_600_000);
      }),
    );
  });

  it.each(["", "S", "1", "123456789S", "1x", "-1S", "1.5S", " 1S"])("refuses %j", (text) => {
    expect(() => parseGrpcTimeout(text)).toThrow();
  });
});
