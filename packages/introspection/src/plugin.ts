import { Introspection } from "@berth/api/containerd/services/introspection/v1/introspection";
import { Version } from "@berth/api/containerd/services/version/v1/version";
import { Health } from "@berth/api/grpc/health/v1/health";
import type { Plugin } from "@berth/plugin-core";
import { definePlugin, one, serviceRegistration } from "@berth/plugin-core";
import { GrpcPlugin, WarningPlugin } from "@berth/plugin-core/types";

import { daemonUuid } from "./daemon-uuid.ts";
import { createDeprecationLog } from "./deprecation-log.ts";
import { createHealthService } from "./health-service.ts";
import { createIntrospectionService } from "./introspection-service.ts";

/** `warning.v1 deprecations`: counts features in use that will go away. */
export const deprecationsPlugin: Plugin = definePlugin({
  type: WarningPlugin,
  id: "deprecations",
  init: ({ log }) => createDeprecationLog({ log }),
});

/** `grpc.v1 introspection`: plugins and identity of the daemon. */
export const introspectionPlugin: Plugin = definePlugin({
  type: GrpcPlugin,
  id: "introspection",
  requires: { deprecations: one(WarningPlugin) },
  init: ({ plugins, host, rootDir }) => [
    serviceRegistration(
      Introspection,
      createIntrospectionService({ ...plugins, records: host.records, uuid: () => daemonUuid(rootDir) }),
    ),
  ],
});

/** `grpc.v1 healthcheck`: the standard health service. */
export const healthPlugin: Plugin = definePlugin({
  type: GrpcPlugin,
  id: "healthcheck",
  init: () => [serviceRegistration(Health, createHealthService())],
});

/** `grpc.v1 version`: the version that is given here. */
export function versionPlugin(build: { readonly version: string; readonly revision: string }): Plugin {
  return definePlugin({
    type: GrpcPlugin,
    id: "version",
    init: () => [serviceRegistration(Version, { version: () => build })],
  });
}
