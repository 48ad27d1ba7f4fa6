import type { DescMessage, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { create, toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { internal } from "@berth/errors";

import { withEncoding } from "./encoded-message.ts";

/** The names of the fields of a message that hold bytes. */
export type BytesField<M extends DescMessage> = {
  [K in keyof MessageShape<M>]: MessageShape<M>[K] extends Uint8Array ? K : never;
}[keyof MessageShape<M>] &
  string;

/**
 * This makes a message of which most is one field of bytes: its binary form is made at once, with one copy of the bytes, where the general
 * encoder needs three. The bytes are the caller's again when it returns.
 */
export function bulkMessage<M extends DescMessage>(
  schema: M,
  head: MessageInitShape<M>,
  field: BytesField<M>,
  bytes: Uint8Array,
): MessageShape<M> {
  const number = schema.field[field]?.number;
  if (number === undefined) throw internal(`${schema.typeName} has no field ${field}`);
  const message = create(schema, head);
  // The order of fields is free.
  const start = new BinaryWriter()
    .raw(toBinary(schema, message))
    .tag(number, WireType.LengthDelimited)
    .uint32(bytes.length)
    .finish();
  const { buffer } = Buffer.allocUnsafeSlow(start.length + bytes.length);
  const encoded = new Uint8Array(buffer);
  encoded.set(start);
  encoded.set(bytes, start.length);
  Object.assign(message, { [field]: encoded.subarray(start.length) });
  return withEncoding(message, () => encoded);
}
