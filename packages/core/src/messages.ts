import { invalidArgument } from "@berth/errors";
import type { DescMessage, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";

import type { AnyValue } from "./any.ts";

/** This returns the full name of the message that a value holds. */
export function messageName({ typeUrl }: AnyValue): string {
  return typeUrl.slice(typeUrl.lastIndexOf("/") + 1);
}

/** This puts a message into a value, under its bare name, as containerd does. */
export function packMessage<D extends DescMessage>(schema: D, message: MessageInitShape<D>): AnyValue {
  return { typeUrl: schema.typeName, value: toBinary(schema, create(schema, message)) };
}

/** The inverse of {@link packMessage}. @throws invalid_argument - another message, or malformed */
export function unpackMessage<D extends DescMessage>(schema: D, value: AnyValue): MessageShape<D> {
  const name = messageName(value);
  if (name !== schema.typeName) throw invalidArgument(`expected a ${schema.typeName}, not ${JSON.stringify(name)}`);
  try {
    return fromBinary(schema, value.value);
  } catch (error) {
    throw invalidArgument(`malformed ${name}`, { cause: error });
  }
}
