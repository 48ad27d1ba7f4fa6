import type { AnyValue } from "@berth/core/any";

/** This shows an Any as Go prints its struct: type and bytes, `null` for none. */
export function anyOf(value: AnyValue | undefined): unknown {
  if (value === undefined) return null;
  const bytes = Buffer.from(value.value).toString("base64");
  return { type_url: value.typeUrl, ...(bytes === "" ? {} : { value: bytes }) };
}

/** This shows the JSON that is inside of an Any; as bytes where it is something else. */
export function decodeJson(value: AnyValue | undefined): unknown {
  try {
    return value === undefined ? null : JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(value.value));
  } catch {
    return anyOf(value);
  }
}
