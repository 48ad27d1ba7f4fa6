import { create } from "@bufbuild/protobuf";
import { type Any, AnySchema } from "@bufbuild/protobuf/wkt";
import { ChildReaper } from "@berth/linux/process";

import { RuncDriver } from "./runc-driver.ts";
import { parseRuncOptions, runcRoot, type TypedValue } from "./runtime-options.ts";

const FEATURES_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

/** What a runtime says of itself; both are absent where it does not say. */
export interface RuntimeDescription {
  /** The options, as they were given. */
  readonly options?: Any;
  /** OCI features as JSON. */
  readonly features?: Any;
}

/** This asks the OCI runtime of some options what it can do. @throws not_found - there is no such runtime */
export async function describeRuntime(options: TypedValue | undefined): Promise<RuntimeDescription> {
  const parsed = parseRuncOptions(options);
  using reaper = new ChildReaper({ mode: "registered" });
  const driver = new RuncDriver({ command: parsed.binaryName, root: runcRoot(parsed, "default"), reaper });
  const json = await driver.features();
  const value = new TextEncoder().encode(json ?? "");
  return {
    ...(options ? { options: create(AnySchema, options) } : {}),
    ...(json === undefined ? {} : { features: create(AnySchema, { typeUrl: FEATURES_TYPE, value }) }),
  };
}
