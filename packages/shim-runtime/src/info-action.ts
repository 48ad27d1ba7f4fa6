import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { RuntimeInfoSchema } from "@berth/api/containerd/types/introspection";

import { type ShimDefinition, UNVERSIONED } from "./define-shim.ts";
import { readStdin } from "./stdin-bytes.ts";

/** This describes the runtime, given its options on the standard input. */
export async function infoAction({ definition }: { readonly definition: ShimDefinition }): Promise<Uint8Array> {
  const bytes = await readStdin();
  const options = bytes.length > 0 ? fromBinary(AnySchema, bytes) : undefined;
  const { runtime: name, version = UNVERSIONED, revision = "" } = definition;
  const facts = await definition.info?.(options);
  return toBinary(RuntimeInfoSchema, create(RuntimeInfoSchema, { ...facts, name, version: { version, revision } }));
}
