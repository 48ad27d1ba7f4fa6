import { Code, codeOf } from "@berth/errors";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";

import { encodeMuxFrames, MuxFrameParser } from "./mux-frame.ts";

/** What a parser passes on of bytes that come in pieces of these sizes, joined by connection. */
function parse(bytes: Uint8Array, sizes: readonly number[]): Map<number, Buffer> {
  const received = new Map<number, Buffer>();
  const parser = new MuxFrameParser((id, part) => {
    received.set(id, Buffer.concat([received.get(id) ?? Buffer.alloc(0), part]));
  });
  let offset = 0;
  for (const size of [...sizes, bytes.length]) {
    parser.push(bytes.subarray(offset, offset + size));
    offset += size;
  }
  return received;
}

const header = (id: number, size: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32BE(id, 0);
  bytes.writeUInt32BE(size, 4);
  return bytes;
};

describe("encodeMuxFrames", () => {
  it.each([
    [1, [1]],
    [4096, [4096]],
    [4097, [4096, 1]],
    [4 * 1024 * 1024 + 10, [4096, 4 * 1024 * 1024 + 10 - 4096]],
  ])("puts a message of %d bytes into frames of %j, as a reader in Go needs them", (size, expected) => {
    const frames = encodeMuxFrames(7, new Uint8Array(size));
    expect(frames.map(({ length }) => length)).toEqual(expected.flatMap((part) => [8, part]));
    expect(frames.filter((_, i) => i % 2 === 0)).toEqual(expected.map((part) => header(7, part)));
  });
});

describe("MuxFrameParser", () => {
  it("gives back what was written, by connection and in order, however it is cut", () => {
    const message = fc.record({
      id: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
      body: fc.uint8Array({ maxLength: 9000 }),
    });
    const cuts = fc.array(fc.integer({ min: 0, max: 5000 }), { maxLength: 30 });
    fc.assert(
      fc.property(fc.array(message, { maxLength: 8 }), cuts, (messages, sizes) => {
        const bytes = Buffer.concat(messages.flatMap(({ id, body }) => encodeMuxFrames(id, body)));
        const expected = Map.groupBy(
          messages.filter(({ body }) => body.length > 0),
          ({ id }) => id,
        );
        const received = parse(bytes, sizes);
        expect([...received.keys()].toSorted()).toEqual([...expected.keys()].toSorted());
        for (const [id, sent] of expected)
          expect(received.get(id)).toEqual(Buffer.concat(sent.map(({ body }) => body)));
      }),
    );
  });

  it("takes any bytes, or refuses the first frame that is too long; all cuts end alike", () => {
    // Small numbers are likely, so that frames of legal size are.
    const bytes = fc.array(fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 255 })), { maxLength: 400 });
    const end = (input: Uint8Array, sizes: readonly number[]): unknown => {
      try {
        return [...parse(input, sizes)];
      } catch (error) {
        return codeOf(error);
      }
    };
    fc.assert(
      fc.property(bytes, fc.array(fc.integer({ min: 1, max: 20 }), { maxLength: 40 }), (input, sizes) => {
        const whole = end(Uint8Array.from(input), []);
        expect(end(Uint8Array.from(input), sizes)).toEqual(whole);
        if (!Array.isArray(whole)) expect(whole).toBe(Code.ResourceExhausted);
      }),
    );
  });

  it.each([
    [4 * 1024 * 1024 + 10, false],
    [4 * 1024 * 1024 + 11, true],
    [0xffffffff, true],
  ])("a frame that announces %d bytes is refused: %j", (size, refused) => {
    const parser = new MuxFrameParser(() => {});
    const push = (): void => parser.push(header(1, size));
    if (refused) expect(push).toThrow();
    else expect(push).not.toThrow();
  });

  it("skips empty frames", () => {
    expect([...parse(Buffer.concat([header(1, 0), header(2, 1), Buffer.from("x")]), [])]).toEqual([
      [2, Buffer.from("x")],
    ]);
  });
});
