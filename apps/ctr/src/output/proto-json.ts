import type { DescField, DescMessage, Message, Registry } from "@bufbuild/protobuf";
import { createRegistry, fromBinary, isFieldSet } from "@bufbuild/protobuf";
import type { ReflectMessage } from "@bufbuild/protobuf/reflect";
import { reflect } from "@bufbuild/protobuf/reflect";
import type { AnyValue } from "@berth/core/any";

import { formatJsonLine } from "./json.ts";

/** Numbers of 64 bits, written as they are. */
type Json = string;

/**
 * This writes the message in an Any as Go's JSON encoder writes its struct: the names of the protocol, nothing for fields that
 * have their zero value, 64-bit numbers as numbers. A type that `schemas` has not is written as type and bytes.
 */
export function formatAny(value: AnyValue, schemas: readonly DescMessage[], indent = ""): Json {
  const registry = createRegistry(...schemas);
  const schema = registry.getMessage(value.typeUrl.slice(value.typeUrl.lastIndexOf("/") + 1));
  if (schema === undefined) return formatUnknown(value.typeUrl, value.value, { registry, indent, level: 0 });
  return formatMessage(reflect(schema, fromBinary(schema, value.value)), { registry, indent, level: 0 });
}

interface Context {
  readonly registry: Registry;
  /** Empty for one line. */
  readonly indent: string;
  readonly level: number;
}

function formatMessage(message: ReflectMessage, context: Context): Json {
  const { desc } = message;
  if (desc.typeName === "google.protobuf.Any") {
    // The type name says what it is.
    const { typeUrl, value } = message.message as Message & AnyValue;
    return formatUnknown(typeUrl, value, context);
  }
  const inner = { ...context, level: context.level + 1 };
  const members = message.fields
    .filter((field) => isPresent(message, field))
    .map((field): [string, Json] => [field.name, formatField(message, field, inner)]);
  return wrap(
    "{}",
    members.map(([name, value]) => `${JSON.stringify(name)}:${context.indent === "" ? "" : " "}${value}`),
    context,
  );
}

/** Go leaves out what is empty; a field with presence counts by being set. */
function isPresent(message: ReflectMessage, field: DescField): boolean {
  return isFieldSet(message.message, field);
}

function formatField(message: ReflectMessage, field: DescField, context: Context): Json {
  switch (field.fieldKind) {
    case "message":
      return formatMessage(message.get(field), context);
    case "list": {
      const items = [...message.get(field)].map((item) =>
        formatValue(item, field.listKind === "message", { ...context, level: context.level + 1 }),
      );
      return wrap("[]", items, context);
    }
    case "map": {
      const inner = { ...context, level: context.level + 1 };
      const members = [...message.get(field)]
        .map(
          ([key, value]): string =>
            `${JSON.stringify(String(key))}:${context.indent === "" ? "" : " "}${formatValue(value, field.mapKind === "message", inner)}`,
        )
        .toSorted();
      return wrap("{}", members, context);
    }
    default:
      return formatScalar(message.get(field));
  }
}

function formatValue(value: unknown, isMessage: boolean, context: Context): Json {
  // The kind of the field says that these are messages.
  return isMessage ? formatMessage(value as ReflectMessage, context) : formatScalar(value);
}

function formatScalar(value: unknown): Json {
  if (typeof value === "bigint") return value.toString();
  if (value instanceof Uint8Array) return JSON.stringify(Buffer.from(value).toString("base64"));
  return formatJsonLine(value);
}

function formatUnknown(typeUrl: string, bytes: Uint8Array, context: Context): Json {
  const space = context.indent === "" ? "" : " ";
  const members = [
    ...(typeUrl === "" ? [] : [`"type_url":${space}${JSON.stringify(typeUrl)}`]),
    ...(bytes.length === 0 ? [] : [`"value":${space}${formatScalar(bytes)}`]),
  ];
  return wrap("{}", members, context);
}

function wrap(brackets: "{}" | "[]", members: readonly string[], { indent, level }: Context): Json {
  const [open, close] = [brackets.charAt(0), brackets.charAt(1)];
  if (members.length === 0) return brackets;
  if (indent === "") return `${open}${members.join(",")}${close}`;
  const line = `\n${indent.repeat(level + 1)}`;
  return `${open}${line}${members.join(`,${line}`)}\n${indent.repeat(level)}${close}`;
}
