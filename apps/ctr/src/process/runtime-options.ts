import type { MessageInitShape } from "@bufbuild/protobuf";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { OptionsSchema } from "@berth/api/containerd/runc/v1/options";
import { OptionsSchema as RuntimeOptionsSchema } from "@berth/api/runtimeoptions/v1/options";
import type { AnyValue } from "@berth/core/any";
import { invalidArgument } from "@berth/errors";

import type { ContainerFlags } from "./container-flags.ts";

type RuncFlags = Pick<ContainerFlags, "runc-binary" | "runc-root" | "runc-systemd-cgroup">;
type RuntimeFlags = RuncFlags & Pick<ContainerFlags, "runtime-config-path">;

/** Runtimes that understand runc's options. */
const RUNC = /^io\.containerd\.(runc|berth)\.v\d+$/;

/** This makes the options that a container's record holds for its runtime. @throws invalid_argument - runc's flags for another runtime, or another's for runc */
export function runtimeOptions(runtime: string, flags: RuntimeFlags): AnyValue | undefined {
  const { "runtime-config-path": configPath } = flags;
  if (configPath !== "" && RUNC.test(runtime))
    throw invalidArgument(`runtime ${runtime} takes no --runtime-config-path`);
  const given = flags["runc-binary"] !== "" || flags["runc-root"] !== "" || flags["runc-systemd-cgroup"];
  if (!given && !RUNC.test(runtime)) return configPath === "" ? undefined : encodeConfigPath(configPath);
  if (!RUNC.test(runtime)) throw invalidArgument(`runtime ${runtime} takes no --runc flags`);
  return encodeRuncOptions(flags);
}

/**
 * This makes the options of a task that shall not use pivot_root, from those of its container: they replace them.
 *
 * @throws invalid_argument - the container's options are not those of runc
 */
export function noPivotOptions(options: AnyValue | undefined): AnyValue {
  if (options === undefined) throw invalidArgument("no-pivot is a flag of runc's runtimes");
  if (!options.typeUrl.endsWith(OptionsSchema.typeName)) {
    throw invalidArgument(`no-pivot is a flag of runc's runtimes, not of options of type ${options.typeUrl}`);
  }
  return encode({ ...fromBinary(OptionsSchema, options.value), noPivotRoot: true });
}

function encodeConfigPath(configPath: string): AnyValue {
  const value = toBinary(RuntimeOptionsSchema, create(RuntimeOptionsSchema, { configPath }));
  return { typeUrl: RuntimeOptionsSchema.typeName, value };
}

function encodeRuncOptions(flags: RuncFlags): AnyValue {
  return encode({
    binaryName: flags["runc-binary"],
    root: flags["runc-root"],
    systemdCgroup: flags["runc-systemd-cgroup"],
  });
}

function encode(options: MessageInitShape<typeof OptionsSchema>): AnyValue {
  return { typeUrl: OptionsSchema.typeName, value: toBinary(OptionsSchema, create(OptionsSchema, options)) };
}
