import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { create, fromBinary, fromJsonString, toJsonString } from "@bufbuild/protobuf";
import {
  type CheckpointOptions,
  CheckpointOptionsSchema,
  type Options,
  OptionsSchema,
} from "@berth/api/containerd/runc/v1/options";
import { OptionsSchema as GenericOptionsSchema } from "@berth/api/runtimeoptions/v1/options";
import { invalidArgument, messageOf, systemErrorCode } from "@berth/errors";

/** A typed value as it comes over the wire. */
export interface TypedValue {
  readonly typeUrl: string;
  readonly value: Uint8Array;
}

function typeName({ typeUrl }: TypedValue): string {
  return typeUrl.slice(typeUrl.lastIndexOf("/") + 1);
}

/**
 * This reads the options of a container: runc's own, or generic ones whose body holds runc's as JSON; none are the defaults.
 * @throws invalid_argument - another type, or undecodable
 */
export function parseRuncOptions(any: TypedValue | undefined): Options {
  if (!any || any.typeUrl === "") return create(OptionsSchema);
  try {
    switch (typeName(any)) {
      case OptionsSchema.typeName:
        return fromBinary(OptionsSchema, any.value);
      case GenericOptionsSchema.typeName:
        return parseGenericOptions(any.value);
    }
  } catch (error) {
    throw invalidArgument(`runtime options of type ${any.typeUrl}: ${messageOf(error)}`, { cause: error });
  }
  throw invalidArgument(`runtime options of type ${any.typeUrl} are not understood`);
}

function parseGenericOptions(bytes: Uint8Array): Options {
  const { configBody, configPath } = fromBinary(GenericOptionsSchema, bytes);
  const text =
    configBody.length > 0 ? new TextDecoder().decode(configBody) : configPath && readFileSync(configPath, "utf8");
  // whoever uses these options names fields of runc's that other runtimes have more of
  return text.trimStart().startsWith("{")
    ? fromJsonString(OptionsSchema, text, { ignoreUnknownFields: true })
    : create(OptionsSchema);
}

/** This reads the options of a checkpoint. @throws invalid_argument - another type, or undecodable */
export function parseCheckpointOptions(any: TypedValue | undefined): CheckpointOptions {
  if (!any || any.typeUrl === "") return create(CheckpointOptionsSchema);
  if (typeName(any) !== CheckpointOptionsSchema.typeName)
    throw invalidArgument(`checkpoint options of type ${any.typeUrl}`);
  try {
    return fromBinary(CheckpointOptionsSchema, any.value);
  } catch (error) {
    throw invalidArgument(`checkpoint options: ${messageOf(error)}`, { cause: error });
  }
}

/** This keeps the options in the bundle for whoever cleans up after this process. */
export function writeRuncOptions(bundle: string, options: Options): void {
  const json = toJsonString(OptionsSchema, options, { useProtoFieldName: true, alwaysEmitImplicit: true });
  writeFileSync(join(bundle, "options.json"), json, { mode: 0o600 });
  writeFileSync(join(bundle, "runtime"), options.binaryName, { mode: 0o600 });
}

/** This reads what {@link writeRuncOptions} wrote; the defaults where nothing is. */
export function readRuncOptions(bundle: string): Options {
  try {
    return fromJsonString(OptionsSchema, readFileSync(join(bundle, "options.json"), "utf8"), {
      ignoreUnknownFields: true,
    });
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return create(OptionsSchema);
    throw invalidArgument(`${bundle}/options.json: ${messageOf(error)}`, { cause: error });
  }
}

/** Where runc keeps its state when the options do not say. */
export const DEFAULT_RUNC_ROOT = "/run/berth/runc";

/** This returns the `--root` of a namespace. */
export function runcRoot(options: Options, namespace: string, otherwise = DEFAULT_RUNC_ROOT): string {
  return join(options.root || otherwise, namespace);
}
