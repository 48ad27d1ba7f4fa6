import type { DescField, DescMessage, JsonObject, JsonValue, MessageShape, Registry } from "@bufbuild/protobuf";
import { clone, create, fromBinary, fromJson, toBinary, toJson } from "@bufbuild/protobuf";
import { base64Decode, base64Encode } from "@bufbuild/protobuf/wire";
import type { Any } from "@bufbuild/protobuf/wkt";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { invalidArgument, messageOf } from "@berth/errors";

import { eachValue, mayHoldAny } from "./any-fields.ts";

/** Types whose JSON is not an object of their fields: inside an Any it stands under `value`. */
const OWN_JSON_FORM =
  /^google\.protobuf\.(Any|Duration|Empty|FieldMask|ListValue|Struct|Timestamp|Value|(Bool|Bytes|Double|Float|U?Int(32|64)|String)Value)$/;

/**
 * This writes a message as JSON. A `google.protobuf.Any` whose type is not in the registry, or whose bytes are not of that
 * type, becomes `{ "@type", "value": base64 }`: containers and images carry such ones, OCI specs for instance.
 */
export function messageToJson<D extends DescMessage>(desc: D, message: MessageShape<D>, registry: Registry): JsonValue {
  if (isAny(desc)) return anyToJson(message as unknown as Any, registry); // the descriptor is Any's
  if (!mayHoldAny(desc)) return toJson(desc, message);
  const bare = clone(desc, message);
  emptyAnys(desc, bare);
  const json = toJson(desc, bare);
  fillJson(desc, message, json, registry);
  return json;
}

/**
 * This reads a message from JSON; the inverse of {@link messageToJson}. Unknown fields are ignored, as Connect does.
 * @throws invalid_argument - it is not JSON of such a message
 */
export function messageFromJson<D extends DescMessage>(desc: D, json: JsonValue, registry: Registry): MessageShape<D> {
  try {
    return parseMessage(desc, json, registry);
  } catch (error) {
    throw invalidArgument(`decode ${desc.typeName} from JSON: ${messageOf(error)}`, { cause: error });
  }
}

function parseMessage<D extends DescMessage>(desc: D, json: JsonValue, registry: Registry): MessageShape<D> {
  if (isAny(desc)) return anyFromJson(json, registry) as unknown as MessageShape<D>; // the descriptor is Any's
  const options = { ignoreUnknownFields: true };
  if (!mayHoldAny(desc)) return fromJson(desc, json, options);
  const message = fromJson(desc, withoutAnys(desc, json), options);
  fillMessage(desc, message, json, registry);
  return message;
}

function anyToJson(any: Any, registry: Registry): JsonObject {
  if (any.typeUrl === "") return {};
  const desc = registry.getMessage(typeNameOf(any.typeUrl));
  const known = desc === undefined ? undefined : decodedToJson(desc, any.value, registry);
  if (desc === undefined || known === undefined) return { "@type": any.typeUrl, value: base64Encode(any.value) };
  if (OWN_JSON_FORM.test(desc.typeName) || !isObject(known)) return { "@type": any.typeUrl, value: known };
  return { "@type": any.typeUrl, ...known };
}

function decodedToJson(desc: DescMessage, bytes: Uint8Array, registry: Registry): JsonValue | undefined {
  try {
    return messageToJson(desc, fromBinary(desc, bytes), registry);
  } catch {
    // Bytes of another type under a known name: they are shown as they are.
    return undefined;
  }
}

function anyFromJson(json: JsonValue, registry: Registry): Any {
  if (!isObject(json)) throw invalidArgument("google.protobuf.Any is no object");
  if (Object.keys(json).length === 0) return create(AnySchema);
  const { "@type": typeUrl, ...rest } = json;
  if (typeof typeUrl !== "string" || typeUrl === "") throw invalidArgument('google.protobuf.Any has no "@type"');
  const desc = registry.getMessage(typeNameOf(typeUrl));
  if (desc === undefined || isOnlyBase64(desc, rest))
    return create(AnySchema, { typeUrl, value: rawValue(typeUrl, rest) });
  const body = OWN_JSON_FORM.test(desc.typeName) && "value" in rest ? (rest["value"] ?? null) : rest;
  return create(AnySchema, { typeUrl, value: toBinary(desc, parseMessage(desc, body, registry)) });
}

/** Whether this is what {@link anyToJson} writes for bytes that are not of the type they name. */
function isOnlyBase64(desc: DescMessage, rest: JsonObject): boolean {
  if (OWN_JSON_FORM.test(desc.typeName) || desc.fields.some((field) => field.jsonName === "value")) return false;
  return Object.keys(rest).length === 1 && typeof rest["value"] === "string";
}

function rawValue(typeUrl: string, rest: JsonObject): Uint8Array {
  const { value = "", ...others } = rest;
  const [other] = Object.keys(others);
  if (other !== undefined || typeof value !== "string") {
    throw invalidArgument(
      `type ${JSON.stringify(typeUrl)} is not known here: its "value" must be base64, and nothing else may stand beside it`,
    );
  }
  return base64Decode(value);
}

function emptyAnys(desc: DescMessage, message: object): void {
  for (const field of desc.fields) {
    for (const [type, value] of eachValue(field, message)) {
      if (isAny(type)) {
        // The descriptor says that it is an Any, and it is our own copy.
        const any = value as Any;
        any.typeUrl = "";
        any.value = new Uint8Array(0);
      } else if (mayHoldAny(type)) emptyAnys(type, value);
    }
  }
}

function fillJson(desc: DescMessage, message: object, json: JsonValue, registry: Registry): void {
  if (!isObject(json)) return;
  for (const field of desc.fields) {
    for (const [type, value, key] of eachValue(field, message)) {
      const [holder, name] = slot(json, field, key);
      if (holder === undefined) continue;
      if (isAny(type)) setOwn(holder, name, anyToJson(value as Any, registry)); // see emptyAnys
      else if (mayHoldAny(type)) fillJson(type, value, holder[name] ?? null, registry);
    }
  }
}

function fillMessage(desc: DescMessage, message: object, json: JsonValue, registry: Registry): void {
  if (!isObject(json)) return;
  for (const field of desc.fields) {
    for (const [type, value, key] of eachValue(field, message)) {
      const [holder, name] = slot(json, field, key);
      const given = holder?.[name];
      if (given === undefined || given === null) continue;
      if (isAny(type)) Object.assign(value, anyFromJson(given, registry));
      else if (mayHoldAny(type)) fillMessage(type, value, given, registry);
    }
  }
}

/** A map's key may be `__proto__`: assigning it would change the prototype. */
function setOwn(holder: JsonObject, name: string, value: JsonValue): void {
  Object.defineProperty(holder, name, { value, enumerable: true, configurable: true, writable: true });
}

/** Where the JSON of a value stands: the object or array, and the key in it. */
function slot(json: JsonObject, field: DescField, key: string | undefined): [JsonObject | undefined, string] {
  const name = Object.hasOwn(json, field.jsonName) ? field.jsonName : field.name;
  if (key === undefined) return [json, name];
  const inner = json[name];
  // An array is addressed by its indices, written as strings, as an object is by its keys.
  return [typeof inner === "object" && inner !== null ? (inner as JsonObject) : undefined, key];
}

/** This copies JSON with each Any replaced by an empty one, which the reader of messages takes without a registry. */
function withoutAnys(desc: DescMessage, json: JsonValue): JsonValue {
  if (!isObject(json)) return json;
  const copy: JsonObject = { ...json };
  for (const field of desc.fields) {
    if (field.message === undefined || !(isAny(field.message) || mayHoldAny(field.message))) continue;
    const type = field.message;
    for (const name of [field.jsonName, field.name]) {
      const value = Object.hasOwn(copy, name) ? copy[name] : undefined;
      if (value === undefined || value === null) continue;
      copy[name] = mapValues(field, value, (one) => (isAny(type) && isObject(one) ? {} : withoutAnys(type, one)));
    }
  }
  return copy;
}

function mapValues(field: DescField, value: JsonValue, change: (one: JsonValue) => JsonValue): JsonValue {
  if (field.fieldKind === "list") return Array.isArray(value) ? value.map(change) : value;
  if (field.fieldKind !== "map") return change(value);
  if (!isObject(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, change(one)]));
}

function isAny(desc: DescMessage): boolean {
  return desc.typeName === "google.protobuf.Any";
}

function isObject(json: JsonValue): json is JsonObject {
  return typeof json === "object" && json !== null && !Array.isArray(json);
}

function typeNameOf(typeUrl: string): string {
  return typeUrl.slice(typeUrl.lastIndexOf("/") + 1);
}
