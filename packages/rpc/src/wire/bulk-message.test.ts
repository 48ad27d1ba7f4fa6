import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  ReadContentResponseSchema,
  WriteContentRequestSchema,
} from "@berth/api/containerd/services/content/v1/content";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { bulkMessage } from "./bulk-message.ts";
import { encodeMessage } from "./message.ts";

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
});
