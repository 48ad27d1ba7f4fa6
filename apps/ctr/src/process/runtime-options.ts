import { create, toBinary } from "@bufbuild/protobuf";
import { OptionsSchema } from "@berth/api/containerd/runc/v1/options";
import type { AnyValue } from "@berth/core/any";
import { invalidArgument } from "@berth/errors";

import type { ContainerFlags } from "./container-flags.ts";

type RuncFlags = Pick<ContainerFlags, "runc-binary" | "runc-root" | "runc-systemd-cgroup">;

/** Runtimes that understand runc's options. */
const RUNC = /^io\.containerd\.(runc|berth)\.v\d+$/;

/** This makes the options that a container's record holds for its runtime. @throws invalid_argument - runc's flags for another runtime */
export function runtimeOptions(runtime: string, flags: RuncFlags): AnyValue | undefined {
  const given = flags["runc-binary"] !== "" || flags["runc-root"] !== "" || flags["runc-systemd-cgroup"];
  if (!given && !RUNC.test(runtime)) return undefined;
  if (!RUNC.test(runtime)) throw invalidArgument(`runtime ${runtime} takes no --runc flags`);
  return encodeRuncOptions(flags, false);
}

/** This makes the options of one task, which replace those of the container's record; nothing where they would not differ. */
export function taskOptions(flags: RuncFlags & Pick<ContainerFlags, "no-pivot">): AnyValue | undefined {
  return flags["no-pivot"] ? encodeRuncOptions(flags, true) : undefined;
}

function encodeRuncOptions(flags: RuncFlags, noPivotRoot: boolean): AnyValue {
  const options = create(OptionsSchema, {
    binaryName: flags["runc-binary"],
    root: flags["runc-root"],
    systemdCgroup: flags["runc-systemd-cgroup"],
    noPivotRoot,
  });
  return { typeUrl: OptionsSchema.typeName, value: toBinary(OptionsSchema, options) };
}
