import { fromBinary, toBinary, create } from "@bufbuild/protobuf";
import { type Any, AnySchema } from "@bufbuild/protobuf/wkt";
import {
  type BootstrapParams,
  BootstrapParamsSchema,
  BootstrapResultSchema,
} from "@berth/api/containerd/runtime/bootstrap/v1/bootstrap";
import { invalidArgument, messageOf } from "@berth/errors";

import { formatTextAnswer, type ShimEndpoint } from "./text-answer.ts";

/** What a daemon said on the standard input of `start`. */
export interface BootstrapInput {
  /** The answer takes the form of the question. */
  readonly form: "protobuf" | "text";
  readonly params?: BootstrapParams;
  /** The options of the runtime, whatever their type. */
  readonly options?: Any;
}

/**
 * This reads the standard input of `start`: `BootstrapParams` of newer daemons, bare options of older ones, or nothing.
 *
 * Both are protobuf with a text in field 1; the parameters are told by naming the very container of the flags.
 * @throws invalid_argument - it is neither, or it names another container than the flags
 */
export function parseBootstrapInput(
  bytes: Uint8Array,
  flags: { readonly id: string; readonly namespace: string },
): BootstrapInput {
  if (bytes.length === 0) return { form: "text" };
  const params = tryDecode(() => fromBinary(BootstrapParamsSchema, bytes));
  if (params && params.instanceId === flags.id && params.namespace === flags.namespace) {
    const options = params.extensions.find((extension) => extension.value)?.value;
    return { form: "protobuf", params, ...(options ? { options } : {}) };
  }
  const options = tryDecode(() => fromBinary(AnySchema, bytes));
  if (options && /^[\w./-]+$/.test(options.typeUrl) && /[./]/.test(options.typeUrl)) return { form: "text", options };
  throw invalidArgument(
    `bootstrap API mismatch: standard input names ${JSON.stringify(params?.namespace ?? "")}/${JSON.stringify(params?.instanceId ?? "")}, ` +
      `the flags ${JSON.stringify(flags.namespace)}/${JSON.stringify(flags.id)}`,
  );
}

function tryDecode<T>(decode: () => T): T | undefined {
  try {
    return decode();
  } catch (error) {
    // what cannot be decoded is of another form; what protobuf says about it helps nobody
    void messageOf(error);
    return undefined;
  }
}

/** This writes the answer of `start` in the form of the question. */
export function formatBootstrapAnswer(
  form: BootstrapInput["form"],
  endpoint: ShimEndpoint,
  maxVersion: number | undefined,
): Uint8Array {
  if (form === "text") return new TextEncoder().encode(formatTextAnswer(endpoint, maxVersion));
  return toBinary(BootstrapResultSchema, create(BootstrapResultSchema, { ...endpoint }));
}
