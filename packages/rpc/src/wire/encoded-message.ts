import type { Message } from "@bufbuild/protobuf";

const encodings = new WeakMap<Message, () => Uint8Array>();

/**
 * This says how to make the binary form of `message` in less time than from its fields, and returns it. The two must agree: where
 * the message does not go out as gRPC, its fields are read.
 */
export function withEncoding<M extends Message>(message: M, encode: () => Uint8Array): M {
  encodings.set(message, encode);
  return message;
}

/** This returns the binary form of a message that has one of its own. */
export function ownEncoding(message: Message): Uint8Array | undefined {
  return encodings.get(message)?.();
}
