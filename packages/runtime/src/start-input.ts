import { BootstrapParamsSchema, LogLevel } from "@berth/api/containerd/runtime/bootstrap/v1/bootstrap";
import type { AnyValue } from "@berth/core/any";
import { create, toBinary } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";

/** How a shim wants to be told what to start: containerd 2.3 and later, or everything before. */
export type StartForm = "parameters" | "options";

/** What a shim learns at its start. */
export interface StartFacts {
  readonly id: string;
  readonly namespace: string;
  readonly debug: boolean;
  readonly daemonVersion: string;
  readonly ttrpcAddress: string;
  readonly grpcAddress: string;
  readonly publishBinary: string;
  readonly socketDir?: string | undefined;
  readonly options?: AnyValue | undefined;
}

/** This says which form a binary is tried with first; those of version 1 never learnt the newer. */
export function firstForm(binary: string): StartForm {
  return /shim-(?:runc|runhcs)-v1/.test(binary) ? "options" : "parameters";
}

/** This makes the standard input of `start`. */
export function startInput(form: StartForm, facts: StartFacts): Uint8Array {
  const { options } = facts;
  if (form === "options") {
    return options === undefined ? new Uint8Array(0) : toBinary(AnySchema, create(AnySchema, options));
  }
  return toBinary(
    BootstrapParamsSchema,
    create(BootstrapParamsSchema, {
      instanceId: facts.id,
      namespace: facts.namespace,
      logLevel: facts.debug ? LogLevel.DEBUG : LogLevel.INFO,
      containerdVersion: facts.daemonVersion,
      containerdTtrpcAddress: facts.ttrpcAddress,
      containerdGrpcAddress: facts.grpcAddress,
      containerdBinary: facts.publishBinary,
      extensions: options === undefined ? [] : [{ value: options }],
      ...(facts.socketDir === undefined ? {} : { socketDir: facts.socketDir }),
    }),
  );
}
