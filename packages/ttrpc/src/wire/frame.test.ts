import { Code } from "@connectrpc/connect";
import { codeOf } from "@berth/errors";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";

import type { Frame } from "./frame.ts";
import { encodeFrame, FrameParser, HEADER_BYTES, MAX_PAYLOAD_BYTES } from "./frame.ts";

function cut(data: Uint8Array, sizes: readonly number[]): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  let offset = 0;
  for (const size of sizes) {
    pieces.push(data.subarray(offset, offset + size));
    offset += size;
  }
  return [...pieces, data.subarray(offset)];
}

function parseAll(pieces: readonly Uint8Array[]): Frame[] {
  const frames: Frame[] = [];
  const parser = new FrameParser((frame) => frames.push(frame));
  for (const piece of pieces) parser.push(piece);
  return frames;
}

function header(size: number, streamId: number): Uint8Array {
  const bytes = Buffer.alloc(HEADER_BYTES);
  bytes.writeUInt32BE(size, 0);
  bytes.writeUInt32BE(streamId, 4);
  bytes[8] = 3;
  return bytes;
}

const anyFrame = fc.record({
  streamId: fc.nat(0xffffffff),
  type: fc.nat(255),
  flags: fc.nat(255),
  payload: fc.uint8Array({ maxLength: 200 }),
});

describe("FrameParser", () => {
  it("gives back every frame, however the bytes are cut", () => {
    fc.assert(
      fc.property(fc.array(anyFrame), fc.array(fc.nat(30)), (frames, sizes) => {
        const bytes = Buffer.concat(frames.map((f) => encodeFrame(f.streamId, f.type, f.flags, f.payload)));
        const parsed = parseAll(cut(bytes, sizes));
        expect(parsed.map((f) => [f.streamId, f.type, f.flags, [...(f.payload ?? [])]])).toEqual(
          frames.map((f) => [f.streamId, f.type, f.flags, [...f.payload]]),
        );
      }),
    );
  });

  it("never throws on garbage", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 500 }),
        fc.array(fc.nat(30)),
        (bytes, sizes) => void parseAll(cut(bytes, sizes)),
      ),
    );
  });

  it("drops a payload above the limit, says so, and reads on behind it", () => {
    const size = MAX_PAYLOAD_BYTES + 1;
    const next = encodeFrame(7, 1, 0, new Uint8Array([1, 2]));
    const frames = parseAll(
      cut(Buffer.concat([header(size, 5), new Uint8Array(size), next]), [3, 1_000_000, 2_000_000]),
    );
    expect(frames.map((f) => [f.streamId, f.size, f.payload?.length])).toEqual([
      [5, size, undefined],
      [7, 2, 2],
    ]);
  });

  it("takes a payload of exactly the limit", () => {
    const payload = new Uint8Array(MAX_PAYLOAD_BYTES);
    expect(parseAll([encodeFrame(1, 1, 0, payload)]).map((f) => f.payload?.length)).toEqual([MAX_PAYLOAD_BYTES]);
  });
});

describe("encodeFrame", () => {
  it("refuses a payload above the limit", () => {
    let thrown: unknown;
    try {
      encodeFrame(1, 1, 0, new Uint8Array(MAX_PAYLOAD_BYTES + 1));
    } catch (error) {
      thrown = error;
    }
    expect(codeOf(thrown)).toBe(Code.ResourceExhausted);
  });
});
