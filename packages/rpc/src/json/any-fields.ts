import type { DescField, DescMessage } from "@bufbuild/protobuf";

const memo = new WeakMap<DescMessage, boolean>();

/** This says whether a message can hold a `google.protobuf.Any` at any depth of its fields. */
export function mayHoldAny(desc: DescMessage): boolean {
  const known = memo.get(desc);
  if (known !== undefined) return known;
  const answer = search(desc, new Set());
  memo.set(desc, answer);
  return answer;
}

function search(desc: DescMessage, seen: Set<DescMessage>): boolean {
  if (seen.has(desc)) return false;
  seen.add(desc);
  return desc.fields.some(
    ({ message }) => message !== undefined && (message.typeName === "google.protobuf.Any" || search(message, seen)),
  );
}

/** A message found in a field: its type, itself, and its index or key where the field is a list or a map. */
export type FieldValue = readonly [type: DescMessage, value: object, key: string | undefined];

/** This lists the messages that a field of a message holds, none for a field of scalars. */
export function eachValue(field: DescField, message: object): FieldValue[] {
  const type = field.message;
  const value = type === undefined ? undefined : read(field, message);
  if (type === undefined || value === undefined || value === null) return [];
  if (field.fieldKind === "message") return [[type, value, undefined]];
  // A list is an array, a map an object: both have their entries by index or key.
  return Object.entries(value).map(([key, one]: [string, object]) => [type, one, key]);
}

function read(field: DescField, message: object): object | null | undefined {
  // A message is a plain object with the fields its descriptor names.
  const fields = message as Record<string, object | undefined>;
  if (field.oneof === undefined) return fields[field.localName];
  // And a oneof is `{ case, value }`.
  const oneof = fields[field.oneof.localName] as { readonly case?: string; readonly value?: object } | undefined;
  return oneof?.case === field.localName ? oneof.value : undefined;
}
