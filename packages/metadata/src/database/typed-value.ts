import { create } from "@bufbuild/protobuf";
import type { TypedValue } from "@berth/api/berth/metadata/v1/container";
import { TypedValueSchema } from "@berth/api/berth/metadata/v1/container";
import type { AnyValue } from "@berth/core/any";

/** This makes what is stored of a value. */
export function toTypedValue({ typeUrl, value }: AnyValue): TypedValue {
  return create(TypedValueSchema, { typeUrl, value });
}

/** This is the inverse of {@link toTypedValue}. */
export function fromTypedValue({ typeUrl, value }: TypedValue): AnyValue {
  return { typeUrl, value };
}

/** This makes what is stored of extensions; no prototype, so that every key survives. */
export function toExtensions(extensions: ReadonlyMap<string, AnyValue>): Record<string, TypedValue> {
  const result: Record<string, TypedValue> = Object.create(null);
  for (const [name, value] of extensions) result[name] = toTypedValue(value);
  return result;
}

/** This is the inverse of {@link toExtensions}. */
export function fromExtensions(extensions: Readonly<Record<string, TypedValue>>): ReadonlyMap<string, AnyValue> {
  return new Map(Object.entries(extensions).map(([name, value]) => [name, fromTypedValue(value)]));
}
