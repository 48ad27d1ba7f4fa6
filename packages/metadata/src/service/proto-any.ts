import { create } from "@bufbuild/protobuf";
import type { Any } from "@bufbuild/protobuf/wkt";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import type { AnyValue } from "@berth/core/any";

/** This drops what protobuf-es adds to a message. */
export function fromProtoAny({ typeUrl, value }: Any): AnyValue {
  return { typeUrl, value };
}

/** This makes the map field of a protobuf message; no prototype, so that every key survives. */
export function toProtoExtensions(extensions: ReadonlyMap<string, AnyValue>): Record<string, Any> {
  const result: Record<string, Any> = Object.create(null);
  for (const [name, value] of extensions) result[name] = create(AnySchema, value);
  return result;
}

/** This is the inverse of {@link toProtoExtensions}. */
export function fromProtoExtensions(extensions: Readonly<Record<string, Any>>): ReadonlyMap<string, AnyValue> {
  return new Map(Object.entries(extensions).map(([name, value]) => [name, fromProtoAny(value)]));
}
