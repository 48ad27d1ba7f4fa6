import type { DescMessage, MessageInitShape } from "@bufbuild/protobuf";
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { toProtoTimestampNs } from "@berth/core/timestamp";

/** Contents under these are JSON, not messages. */
const JSON_TYPES = "types.containerd.io/";

/**
 * This makes the protobuf JSON of a message: names in camel case, nothing for fields that have their zero value, 64-bit numbers as texts. An Any tells its
 * type as `@type`, beside the fields of a message that is among `known`; the JSON inside, such as a spec, stands under `value`, and so do other bytes, in base64.
 */
export async function messageJson<D extends DescMessage>(
  schema: D,
  message: MessageInitShape<D>,
  known: readonly DescMessage[] = [],
): Promise<unknown> {
  const [{ create, createRegistry }, { messageToJson }] = await Promise.all([
    import("@bufbuild/protobuf"),
    import("@berth/rpc/json"),
  ]);
  return withSpecs(messageToJson(schema, create(schema, message), createRegistry(...known)));
}

/** This makes the field of a time in milliseconds since 1970; none of 0, which stands for a time that is not set. */
export function timeField<N extends string>(name: N, timeMs: number): { readonly [P in N]?: Timestamp } {
  return timeNsField(name, BigInt(timeMs) * 1_000_000n);
}

/** Like {@link timeField}, of nanoseconds. */
export function timeNsField<N extends string>(name: N, timeNs: bigint): { readonly [P in N]?: Timestamp } {
  // A computed key widens to an index signature, which is the mapped type for a single literal.
  return (timeNs === 0n ? {} : { [name]: toProtoTimestampNs(timeNs) }) as { readonly [P in N]?: Timestamp };
}

function withSpecs(json: unknown): unknown {
  if (typeof json !== "object" || json === null) return json;
  if (Array.isArray(json)) return json.map(withSpecs);
  const members: Record<string, unknown> = Object.create(null);
  for (const [name, value] of Object.entries(json)) members[name] = withSpecs(value);
  const { "@type": type, value } = members;
  if (typeof type === "string" && type.startsWith(JSON_TYPES) && typeof value === "string") {
    members["value"] = decoded(value);
  }
  return members;
}

/** As it is where it is no JSON after all. */
function decoded(base64: string): unknown {
  try {
    return JSON.parse(Buffer.from(base64, "base64").toString("utf8"));
  } catch {
    return base64;
  }
}
