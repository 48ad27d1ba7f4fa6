import { type RuntimeInfo, RuntimeInfoSchema, RuntimeRequestSchema } from "@berth/api/containerd/types/introspection";
import type { AnyValue, CallOptions } from "@berth/core/any";
import type { PluginInfo } from "@berth/core/introspection";
import type { TaskCreateOptions } from "@berth/core/runtime";
import { invalidArgument, unimplemented, unknown, wrapError } from "@berth/errors";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { z } from "zod";

import type { ShimOutput } from "./shim-command.ts";
import { effectiveOptions } from "./shim-task.ts";

/** Who can be asked what a runtime is. */
export interface RuntimeInfoSource {
  /** Path of the binary of a runtime. @throws not_found, invalid_argument */
  resolve(runtime: string): Promise<string>;
  /** This has a shim's binary describe its runtime (`-info`). @throws unknown - it does not know the flag, or printed something else */
  runtimeInfo(binary: string, options: AnyValue | undefined, limits?: CallOptions): Promise<RuntimeInfo>;
}

/** This reads what a shim's binary printed when asked with `-info`. @throws unknown */
export function parseRuntimeInfo(binary: string, { status, stdout, stderr }: ShimOutput): RuntimeInfo {
  if (status !== 0) throw unknown(`${binary} -info: exit status ${status}: ${new TextDecoder().decode(stderr).trim()}`);
  try {
    return fromBinary(RuntimeInfoSchema, stdout);
  } catch (error) {
    throw unknown(`${binary} -info printed no runtime info`, { cause: error });
  }
}

/**
 * This answers introspection's questions about runtimes: `containerd.types.RuntimeRequest` with `RuntimeInfo`.
 *
 * @see containerd core/runtime/v2/task_manager.go, PluginInfo
 */
export function createRuntimePluginInfo(source: RuntimeInfoSource): PluginInfo {
  return async ({ typeUrl, value }, limits) => {
    if (typeUrl.slice(typeUrl.lastIndexOf("/") + 1) !== RuntimeRequestSchema.typeName) {
      throw unimplemented(`a runtime knows no questions of type ${JSON.stringify(typeUrl)}`);
    }
    const { runtimePath, options } = decodeRequest(value);
    const info = await source.runtimeInfo(await source.resolve(runtimePath), options, limits);
    return { typeUrl: RuntimeInfoSchema.typeName, value: toBinary(RuntimeInfoSchema, info) };
  };
}

function decodeRequest(value: Uint8Array) {
  try {
    return fromBinary(RuntimeRequestSchema, value);
  } catch (error) {
    throw invalidArgument("malformed request for runtime info", { cause: error });
  }
}

const mappingJson = z.array(z.unknown()).nullish();
const specJson = z.object({
  mounts: z
    .array(
      z
        .object({ uidMappings: mappingJson, gidMappings: mappingJson, options: z.array(z.string()).nullish() })
        .partial(),
    )
    .nullish(),
});
const featuresJson = z.object({
  linux: z.object({ mountExtensions: z.object({ idmap: z.object({ enabled: z.literal(true) }) }) }),
});

/**
 * This refuses a spec with idmapped mounts for a runtime that does not know them: an old runc leaves them out without a word, and
 * the files in them would have the wrong owners.
 *
 * @throws unknown - as in containerd
 */
export async function checkMountFeatures(
  source: RuntimeInfoSource,
  binary: string,
  options: TaskCreateOptions,
): Promise<void> {
  if (!usesIdMappedMounts(options.spec.value)) return;
  let features: AnyValue | undefined;
  try {
    ({ features } = await source.runtimeInfo(binary, effectiveOptions(options), options));
  } catch (error) {
    throw wrapError(error, "runtime info for idmapped mounts");
  }
  if (!featuresJson.safeParse(parseJson(features?.value)).success) {
    throw unknown("missing `mountExtensions.idmap.enabled` of the runtime (hint: use runc >= 1.2 or crun >= 1.9)");
  }
}

function usesIdMappedMounts(spec: Uint8Array): boolean {
  const text = new TextDecoder().decode(spec);
  // Reading a whole spec costs more than making the bundle, and most have nothing of it.
  if (!/[ug]idMappings|idmap/.test(text)) return false;
  // The shim is the judge of specs that are none.
  const mounts = specJson.safeParse(parseJson(spec)).data?.mounts ?? [];
  return mounts.some(
    ({ uidMappings, gidMappings, options }) =>
      (uidMappings ?? []).length > 0 ||
      (gidMappings ?? []).length > 0 ||
      (options ?? []).some((option) => option === "idmap" || option === "ridmap"),
  );
}

function parseJson(bytes: Uint8Array | undefined): unknown {
  try {
    return bytes === undefined ? undefined : JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined;
  }
}
