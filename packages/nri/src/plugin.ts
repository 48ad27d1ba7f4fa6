import { createServer } from "node:net";

import { parseGoDuration } from "@berth/core/go-duration";
import type { Plugin } from "@berth/plugin-core";
import { definePlugin, goDuration } from "@berth/plugin-core";
import { NriPlugin } from "@berth/plugin-core/types";
import { bindUnix } from "@berth/rpc";
import { z } from "zod";

import { LocalNri } from "./nri-runtime.ts";

/** What the daemon says of itself. */
export interface NriPluginOptions {
  /** Where plugins connect, unless `socket_path` says otherwise. */
  readonly defaultSocketPath: string;
  readonly runtimeName: string;
  readonly runtimeVersion: string;
}

/** What containers may be adjusted in; read here, used by who makes containers. */
const defaultValidator = z.object({
  enable: z.boolean().default(false),
  reject_oci_hook_adjustment: z.boolean().default(false),
  reject_runtime_default_seccomp_adjustment: z.boolean().default(false),
  reject_unconfined_seccomp_adjustment: z.boolean().default(false),
  reject_custom_seccomp_adjustment: z.boolean().default(false),
  reject_namespace_adjustment: z.boolean().default(false),
  reject_sysctl_adjustment: z.boolean().default(false),
  required_plugins: z.array(z.string()).default([]),
  tolerate_missing_plugins_annotation: z.string().default(""),
});

/** `io.containerd.nri.v1.nri`: plugins from outside and pre-installed ones. */
export function nriPlugin(options: NriPluginOptions): Plugin {
  return definePlugin({
    type: NriPlugin,
    id: "nri",
    config: z.object({
      disable: z.boolean().default(false),
      socket_path: z.string().default(options.defaultSocketPath),
      plugin_path: z.string().default("/opt/nri/plugins"),
      plugin_config_path: z.string().default("/etc/nri/conf.d"),
      plugin_registration_timeout: goDuration.default("5s"),
      plugin_request_timeout: goDuration.default("2s"),
      disable_connections: z.boolean().default(false),
      default_validator: defaultValidator.prefault({}),
    }),
    async init({ config, resources, log }) {
      const nri = resources.use(
        new LocalNri({
          ...options,
          pluginPath: config.plugin_path,
          pluginConfigPath: config.plugin_config_path,
          registrationTimeoutMs: parseGoDuration(config.plugin_registration_timeout) || 5000,
          requestTimeoutMs: parseGoDuration(config.plugin_request_timeout) || 2000,
          log,
        }),
      );
      // Whoever relays events finds no plugin then, and need not ask.
      if (config.disable) return nri;
      if (!config.disable_connections) {
        const listener = createServer();
        nri.accept(listener);
        const path = config.socket_path || options.defaultSocketPath;
        await bindUnix(listener, { path, directoryMode: 0o700, mode: 0o600 });
        resources.defer(() => void listener.close());
      }
      nri.start();
      return nri;
    },
  });
}
