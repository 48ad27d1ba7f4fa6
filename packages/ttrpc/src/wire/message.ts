import type { DescMessage, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { create, fromBinary, isMessage, toBinary } from "@bufbuild/protobuf";
import { internal, messageOf } from "@berth/errors";

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
 */
export function encodeMessage<D extends DescMessage>(desc: D, init: MessageInitShape<D>): Uint8Array {
  try {
    return toBinary(desc, isMessage(init, desc) ? init : create(desc, init));
  } catch (error) {
    throw internal(`encode ${desc.typeName}: ${messageOf(error)}`, { cause: error });
  }
}
