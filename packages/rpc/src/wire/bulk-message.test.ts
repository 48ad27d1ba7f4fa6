import { PassThrough } from "node:stream";

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { anyPack, AnySchema, anyUnpack } from "@bufbuild/protobuf/wkt";
import {
  ReadContentResponseSchema,
  WriteContentRequestSchema,
} from "@berth/api/containerd/services/content/v1/content";
import { Code } from "@connectrpc/connect";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { bulkAny, bulkMessage, readBulkMessage } from "./bulk-message.ts";
import { encodeFrame, FrameReader } from "./frame.ts";
import { encodeMessage } from "./message.ts";
import { writeOrWait } from "./write.ts";

describe("bulkMessage", () => {
  it("encodes to what reads back as the message that the general encoder makes", () => {
    fc.assert(
      fc.property(
        fc.bigInt({ min: 0n, max: 1n << 62n }),
        fc.string(),
        fc.uint8Array({ maxLength: 300 }),
        (offset, ref, data) => {
          const head = { offset, ref, labels: { a: ref } };
          const general = create(WriteContentRequestSchema, { ...head, data });
          const bulk = bulkMessage(WriteContentRequestSchema, head, "data", data);
          expect(
            fromBinary(WriteContentRequestSchema, encodeMessage(WriteContentRequestSchema, bulk, 1 << 20)),
          ).toEqual(general);
          // Also where its fields are read.
          expect(toBinary(WriteContentRequestSchema, bulk)).toEqual(toBinary(WriteContentRequestSchema, general));
        },
      ),
    );
  });

  it("keeps its own copy of the bytes", () => {
    const data = Uint8Array.of(1, 2, 3);
    const message = bulkMessage(ReadContentResponseSchema, { offset: 5n }, "data", data);
    data.fill(9);
    const read = fromBinary(ReadContentResponseSchema, encodeMessage(ReadContentResponseSchema, message, 100));
    expect(read).toMatchObject({ offset: 5n, data: Uint8Array.of(1, 2, 3) });
  });

  it.each([
    ["where they are to be", (into: Uint8Array) => into.fill(7)],
    ["elsewhere", (into: Uint8Array) => new Uint8Array(into.length).fill(7)],
  ])("has its bytes read %s", async (_, fill) => {
    const [head, data] = [{ offset: 5n }, new Uint8Array(300).fill(7)];
    const read = async (into: Uint8Array): Promise<Uint8Array> => fill(into);
    const message = await readBulkMessage(ReadContentResponseSchema, head, { field: "data", size: 300, read });
    const encoded = encodeMessage(ReadContentResponseSchema, message, 1000);
    expect(encoded).toEqual(
      encodeMessage(ReadContentResponseSchema, bulkMessage(ReadContentResponseSchema, head, "data", data), 1000),
    );
    expect(message.data).toEqual(data);
  });

  it("is none when its bytes are fewer than announced", async () => {
    const read = async (into: Uint8Array): Promise<Uint8Array> => into.subarray(1);
    const message = readBulkMessage(ReadContentResponseSchema, {}, { field: "data", size: 300, read });
    await expect(message).rejects.toMatchObject({ code: Code.Internal });
  });

  it("goes into a value as the general encoder puts it there", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 1n << 62n }), fc.uint8Array({ maxLength: 300 }), (offset, data) => {
        const general = anyPack(ReadContentResponseSchema, create(ReadContentResponseSchema, { offset, data }));
        const bulk = bulkAny(ReadContentResponseSchema, { offset }, "data", data);
        const read = fromBinary(AnySchema, encodeMessage(AnySchema, bulk, 1 << 20));
        expect(read.typeUrl).toBe(ReadContentResponseSchema.typeName);
        expect(anyUnpack({ ...read, typeUrl: general.typeUrl }, ReadContentResponseSchema)).toMatchObject({
          offset,
          data,
        });
        expect(bulk.value).toEqual(read.value);
      }),
    );
  });

  it("is framed like any other message, and its memory is freed when it has been sent", async () => {
    const message = bulkMessage(ReadContentResponseSchema, { offset: 5n }, "data", new Uint8Array(100_000).fill(7));
    const encoded = encodeMessage(ReadContentResponseSchema, message, 1 << 20);
    const copy = Uint8Array.from(encoded);
    const stream = new PassThrough({ highWaterMark: 1 << 20 });
    await writeOrWait(stream, encodeFrame(encoded));
    const reader = new FrameReader(1 << 20);
    // What a pass-through hands on is the frame itself: it is read before the stream says that it is done with it.
    reader.push(Uint8Array.from(stream.read()));
    expect(reader.next()?.data).toEqual(copy);
    await expect.poll(() => message.data.length).toBe(0);
  });

  it("frees nothing of other messages", async () => {
    const encoded = new Uint8Array(100_000).fill(1);
    const frame = encodeFrame(encoded);
    await writeOrWait(new PassThrough().resume(), frame);
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect([encoded.length, frame.length]).toEqual([100_000, 100_005]);
  });
});
