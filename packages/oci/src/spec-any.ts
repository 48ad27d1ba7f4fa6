import { invalidArgument } from "@berth/errors";

import { record } from "./descriptor.ts";
import type { RuntimeSpec, SpecProcess, SpecResources } from "./spec-model.ts";

/** Type URLs of the JSON values that travel in an Any. */
export const SpecTypeUrl = {
  spec: "types.containerd.io/opencontainers/runtime-spec/1/Spec",
  process: "types.containerd.io/opencontainers/runtime-spec/1/Process",
  linuxResources: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources",
} as const;

/** The shape of `AnyValue` in `@berth/core/any`. */
interface JsonAny {
  readonly typeUrl: string;
  readonly value: Uint8Array;
}

/** This puts a spec into the record of a container. */
export function encodeSpec(spec: RuntimeSpec): JsonAny {
  return encode(SpecTypeUrl.spec, spec);
}

/** This puts the process of an exec into a request. */
export function encodeProcess(process: SpecProcess): JsonAny {
  return encode(SpecTypeUrl.process, process);
}

/** This puts limits into an update of a task. */
export function encodeLinuxResources(resources: SpecResources): JsonAny {
  return encode(SpecTypeUrl.linuxResources, resources);
}

/**
 * This reads the spec of a container; fields that berth does not know stay in it.
 *
 * @throws invalid_argument - another type, or not a JSON object. Deeper fields are as their writer left them.
 */
export function decodeSpec(any: JsonAny): RuntimeSpec {
  // Checked to be an object; its writer vouches for the rest, and the runtime checks it again.
  return decode(any, SpecTypeUrl.spec) as unknown as RuntimeSpec;
}

/** This reads the process of an exec; errors as {@link decodeSpec}. */
export function decodeProcess(any: JsonAny): SpecProcess {
  // As for a spec.
  return decode(any, SpecTypeUrl.process) as unknown as SpecProcess;
}

function encode(typeUrl: string, value: object): JsonAny {
  return { typeUrl, value: new TextEncoder().encode(JSON.stringify(value)) };
}

function decode({ typeUrl, value }: JsonAny, expected: string): Readonly<Record<string, unknown>> {
  if (typeUrl !== expected) throw invalidArgument(`expected a value of type ${expected}, not ${typeUrl}`);
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(value));
  } catch (error) {
    throw invalidArgument(`${expected}: not JSON`, { cause: error });
  }
  return record(json, expected);
}
