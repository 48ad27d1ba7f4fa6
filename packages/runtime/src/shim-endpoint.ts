import { type BootstrapResult, BootstrapResultSchema } from "@berth/api/containerd/runtime/bootstrap/v1/bootstrap";
import type { ShimEndpoint } from "@berth/core/shims";
import { invalidArgument, unimplemented } from "@berth/errors";
import { fromBinary } from "@bufbuild/protobuf";
import { z } from "zod";

const MAX_VERSION = 3;
const endpointJson = z.object({
  version: z.number().int(),
  address: z.string(),
  protocol: z.string().optional(),
});

/**
 * This reads what a shim's `start` printed: a protobuf BootstrapResult, else JSON, else the bare address of a version 2 shim.
 *
 * @throws invalid_argument - there is no address in it, or the protocol is neither ttrpc nor grpc
 * @throws unimplemented - the version is newer than berth knows
 */
export function parseBootstrapAnswer(bytes: Uint8Array): ShimEndpoint {
  const result = decodeResult(bytes);
  if (result !== undefined) return toEndpoint(result.version, result.address, result.protocol);
  const text = new TextDecoder().decode(bytes).trim();
  const json = parseJson(text);
  if (json !== undefined && json.version >= 2) return toEndpoint(json.version, json.address, json.protocol);
  return toEndpoint(2, text, "ttrpc");
}

/** This reads a `bootstrap.json`; the inverse of {@link formatEndpoint}. Errors as {@link parseBootstrapAnswer}. */
export function parseEndpoint(text: string): ShimEndpoint {
  const json = parseJson(text);
  if (json === undefined) throw invalidArgument(`${JSON.stringify(text.slice(0, 80))} is no bootstrap record`);
  return toEndpoint(json.version, json.address, json.protocol);
}

/** This writes an endpoint as containerd does in `bootstrap.json`. */
export function formatEndpoint({ version, address, protocol }: ShimEndpoint): string {
  return JSON.stringify({ version, address, protocol });
}

function decodeResult(bytes: Uint8Array): BootstrapResult | undefined {
  try {
    const result = fromBinary(BootstrapResultSchema, bytes);
    // Text can happen to be a well-formed message of unknown fields; an answer has these two.
    return result.version > 0 && result.address !== "" ? result : undefined;
  } catch {
    return undefined;
  }
}

function parseJson(text: string): z.infer<typeof endpointJson> | undefined {
  try {
    return endpointJson.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

function toEndpoint(version: number, address: string, protocol: string | undefined): ShimEndpoint {
  if (version > MAX_VERSION) throw unimplemented(`shim speaks version ${version}, at most ${MAX_VERSION} is supported`);
  if (version < 2) throw invalidArgument(`shim speaks version ${version}, at least 2 is needed`);
  // One line and no spaces: anything else is an error text that a shim printed where an address belongs.
  if (address === "" || /[\s\0]/.test(address)) {
    throw invalidArgument(`shim gave no address but ${JSON.stringify(address.slice(0, 200))}`);
  }
  if (protocol === undefined || protocol === "") return { version, address, protocol: "ttrpc" };
  if (protocol !== "ttrpc" && protocol !== "grpc") throw invalidArgument(`shim speaks ${JSON.stringify(protocol)}`);
  return { version, address, protocol };
}
