import type { DescMessage, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { create, toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import type { Any } from "@bufbuild/protobuf/wkt";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { internal } from "@berth/errors";

import { withEncoding } from "./encoded-message.ts";
import { allocateMessage } from "./frame.ts";

/** The names of the fields of a message that hold bytes. */
export type BytesField<M extends DescMessage> = {
  [K in keyof MessageShape<M>]: MessageShape<M>[K] extends Uint8Array ? K : never;
}[keyof MessageShape<M>] &
  string;

/** The bytes of a message, and where they come from. */
export interface BulkRead<M extends DescMessage> {
  readonly field: BytesField<M>;
  readonly size: number;
  readonly read: (into: Uint8Array) => Promise<Uint8Array>;
}

/**
 * This makes a message of which most is one field of bytes: its binary form is made at once, with one copy of the bytes, where the general
 * encoder needs three. The bytes are the caller's again when it returns. It may be sent once: that frees its memory.
 */
export function bulkMessage<M extends DescMessage>(
  schema: M,
  head: MessageInitShape<M>,
  field: BytesField<M>,
  bytes: Uint8Array,
): MessageShape<M> {
  const message = create(schema, head);
  return fill(schema, message, field, [startOf(schema, message, field, bytes.length), bytes]);
}

/** This makes a {@link bulkMessage} whose bytes come straight to their place: `read` is given it, and returns the bytes, there or elsewhere. */
export async function readBulkMessage<M extends DescMessage>(
  schema: M,
  head: MessageInitShape<M>,
  { field, size, read }: BulkRead<M>,
): Promise<MessageShape<M>> {
  const message = create(schema, head);
  const start = startOf(schema, message, field, size);
  const encoded = allocateMessage(start.length + size);
  encoded.set(start);
  const into = encoded.subarray(start.length);
  const bytes = await read(into);
  if (bytes.length !== size) throw internal(`${schema.typeName}: ${bytes.length} of ${size} bytes of ${field}`);
  if (bytes.buffer !== into.buffer) into.set(bytes);
  Object.assign(message, { [field]: into });
  return withEncoding(message, () => encoded);
}

/** This puts a message of which most is one field of bytes into a value, under its bare name; see {@link bulkMessage}. */
export function bulkAny<M extends DescMessage>(
  schema: M,
  head: MessageInitShape<M>,
  field: BytesField<M>,
  bytes: Uint8Array,
): Any {
  const inner = startOf(schema, create(schema, head), field, bytes.length);
  const value = create(AnySchema, { typeUrl: schema.typeName });
  const start = startOf(AnySchema, value, "value", inner.length + bytes.length);
  return fill(AnySchema, value, "value", [start, inner, bytes]);
}

/** What comes before the bytes of the field. The order of fields is free. */
function startOf<M extends DescMessage>(
  schema: M,
  message: MessageShape<M>,
  field: BytesField<M>,
  size: number,
): Uint8Array {
  const number = schema.field[field]?.number;
  if (number === undefined) throw internal(`${schema.typeName} has no field ${field}`);
  const writer = new BinaryWriter().raw(toBinary(schema, message)).tag(number, WireType.LengthDelimited);
  return writer.uint32(size).finish();
}

/** Makes the binary form of parts, the first of which lies before the bytes of the field. */
function fill<M extends DescMessage>(
  schema: M,
  message: MessageShape<M>,
  field: BytesField<M>,
  parts: readonly [Uint8Array, ...Uint8Array[]],
): MessageShape<M> {
  const encoded = allocateMessage(parts.reduce((size, { length }) => size + length, 0));
  let at = 0;
  for (const part of parts) {
    encoded.set(part, at);
    at += part.length;
  }
  Object.assign(message, { [field]: encoded.subarray(parts[0].length) });
  return withEncoding(message, () => encoded);
}
