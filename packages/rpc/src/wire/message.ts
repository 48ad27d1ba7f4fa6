import type { DescMessage, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { create, fromBinary, isMessage, toBinary } from "@bufbuild/protobuf";
import { internal, messageOf, resourceExhausted } from "@berth/errors";

import { ownEncoding } from "./encoded-message.ts";

/**
 * This decodes a message from its binary form.
 * @throws internal - the bytes are not such a message
 */
export function decodeMessage<D extends DescMessage>(desc: D, bytes: Uint8Array): MessageShape<D> {
  try {
    return fromBinary(desc, bytes);
  } catch (error) {
    throw internal(`decode ${desc.typeName}: ${messageOf(error)}`, { cause: error });
  }
}

/**
 * This encodes a message, or what makes one, to its binary form.
 * @throws internal - a value does not fit its field
 * @throws resource_exhausted - the result is larger than `maxBytes`
 */
export function encodeMessage<D extends DescMessage>(desc: D, init: MessageInitShape<D>, maxBytes: number): Uint8Array {
  let bytes: Uint8Array;
  try {
    const message = isMessage(init, desc) ? init : create(desc, init);
    bytes = ownEncoding(message) ?? toBinary(desc, message);
  } catch (error) {
    throw internal(`encode ${desc.typeName}: ${messageOf(error)}`, { cause: error });
  }
  if (bytes.length > maxBytes) {
    throw resourceExhausted(`message of ${bytes.length} bytes to be sent is larger than the limit of ${maxBytes}`);
  }
  return bytes;
}
