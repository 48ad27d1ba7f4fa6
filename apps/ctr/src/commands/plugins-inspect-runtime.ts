import { createIntrospectionClient } from "@berth/client/introspection";
import { OptionsSchema } from "@berth/api/containerd/runc/v1/options";
import { RuntimeInfoSchema, RuntimeRequestSchema } from "@berth/api/containerd/types/introspection";
import type { AnyValue } from "@berth/core/any";
import { failedPrecondition } from "@berth/errors";
import { create, fromBinary, toBinary, toJson } from "@bufbuild/protobuf";

import { defineCommand } from "../cli/command.ts";
import { booleanFlag, stringFlag } from "../cli/flags.ts";
import { anyOf, decodeJson } from "../output/any-json.ts";
import { formatJson } from "../output/json.ts";
import { print } from "../output/print.ts";
import { runtimeOptions } from "../process/runtime-options.ts";

export const inspectRuntime = defineCommand({
  usage: "",
  description: "Has the daemon ask the shim of a runtime what it is, and what the OCI runtime behind it can do.",
  examples: ["ctr plugins inspect-runtime", "ctr plugins inspect-runtime --runc-binary /usr/bin/crun"],
  flags: {
    runtime: stringFlag("name of the runtime, or path of its shim", { initial: "io.containerd.runc.v2" }),
    "runtime-config-path": stringFlag("configuration of a runtime other than runc's"),
    "runc-binary": stringFlag("program that runc's runtimes run instead of runc"),
    "runc-root": stringFlag("directory of the state of runc"),
    "runc-systemd-cgroup": booleanFlag("have systemd make the cgroups"),
  },
  async run({ flags, session }) {
    const options = runtimeOptions(flags.runtime, flags);
    const request = create(RuntimeRequestSchema, {
      runtimePath: flags.runtime,
      ...(options === undefined ? {} : { options }),
    });
    const { extra } = await createIntrospectionClient(session.transport()).pluginInfo(
      "io.containerd.runtime.v2",
      "task",
      {
        request: { typeUrl: RuntimeRequestSchema.typeName, value: toBinary(RuntimeRequestSchema, request) },
        signal: session.signal,
      },
    );
    if (extra === undefined) throw failedPrecondition("the daemon says nothing of its runtimes");
    const { name, version, options: known, features, annotations } = fromBinary(RuntimeInfoSchema, extra.value);
    print(
      `${formatJson({
        Name: name,
        Version: { Version: version?.version ?? "", Revision: version?.revision ?? "" },
        Options: optionsJson(known),
        Features: decodeJson(features),
        Annotations: Object.keys(annotations).length === 0 ? null : annotations,
      })}\n`,
    );
  },
});

/** Those of runc by their names, any other as they came. */
function optionsJson(options: AnyValue | undefined): unknown {
  if (options?.typeUrl.endsWith(OptionsSchema.typeName) !== true) return anyOf(options);
  return toJson(OptionsSchema, fromBinary(OptionsSchema, options.value), { useProtoFieldName: true });
}
