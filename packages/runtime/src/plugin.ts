import { basename, dirname, join } from "node:path";

import { Tasks } from "@berth/api/containerd/services/tasks/v1/tasks";
import type { MetadataStore } from "@berth/core/metadata";
import { DEFAULT_SHIM_SOCKET_DIR, MAX_SHIM_SOCKET_DIR_BYTES } from "@berth/core/shim-names";
import { failedPrecondition, ignoreNotFound } from "@berth/errors";
import { formatPlatform, hostPlatform, parsePlatform } from "@berth/oci";
import { definePlugin, one, optional, type Plugin, serviceRegistration } from "@berth/plugin-core";
import {
  EventPlugin,
  GrpcPlugin,
  MetadataPlugin,
  MountManagerPlugin,
  RuntimePlugin,
  ShimPlugin,
  WarningPlugin,
} from "@berth/plugin-core/types";
import { z } from "zod";

import { createRuntimePluginInfo } from "./runtime-info.ts";
import { runtimeTimeouts } from "./runtime-timeouts.ts";
import { createTasksService } from "./service.ts";
import { LocalShimManager } from "./shim-manager.ts";
import { openTaskRuntime, type TaskRuntimeOptions } from "./task-runtime.ts";

/** What the daemon tells the runtime of itself. */
export interface RuntimePluginOptions {
  /** Path of berth's own shim. */
  readonly ownShim: string;
  /** Path that shims of old run with `publish`. */
  readonly publishBinary?: string;
  readonly version?: string;
  readonly debug?: boolean;
}

const OWN_SHIM_NAME = "containerd-shim-berth-v2";

const shimConfig = z.object({
  env: z.array(z.string()).default([]),
  socket_dir: z.string().default(""),
  default_shim: z.string().default(""),
  max_containers_per_shim: z.number().int().min(1).default(64),
  grouping: z.enum(["pool", "sandbox", "container"]).default("pool"),
});

/** `io.containerd.shim.v1.manager`: finds and starts shims. */
export function shimManagerPlugin({ ownShim, ...facts }: RuntimePluginOptions): Plugin {
  return definePlugin({
    type: ShimPlugin,
    id: "manager",
    config: shimConfig,
    init: ({ config, host, stateDir, resources, log }) => {
      const defaultShim = config.default_shim || ownShim;
      return resources.use(
        new LocalShimManager({
          ...facts,
          grpcAddress: host.grpcAddress,
          ttrpcAddress: host.ttrpcAddress,
          defaultShim,
          pooling: defaultShim === ownShim || basename(defaultShim) === OWN_SHIM_NAME,
          grouping: config.grouping,
          maxContainersPerShim: config.max_containers_per_shim,
          poolSocketDir: config.socket_dir || shortEnough(join(dirname(stateDir), "s")),
          socketDir: config.socket_dir,
          // Beside the sockets of the shims: two daemons on one machine must not see each other's containers.
          env: [`BERTH_SHIM_RUNC_ROOT=${join(dirname(stateDir), "runc")}`, ...config.env],
          timeouts: runtimeTimeouts(host.timeouts),
          log,
        }),
      );
    },
  });
}

/** `io.containerd.runtime.v2.task`: tasks over shims, those of earlier daemons included. */
export const taskRuntimePlugin = definePlugin({
  type: RuntimePlugin,
  id: "task",
  requires: {
    shims: one(ShimPlugin),
    events: one(EventPlugin),
    metadata: one(MetadataPlugin),
    // Without it, tasks whose mounts the kernel makes still run.
    mounts: optional(MountManagerPlugin),
  },
  config: z.object({ platforms: z.array(z.string()).default(() => [formatPlatform(hostPlatform())]) }),
  init: async ({
    plugins: { shims, events, metadata, mounts },
    config,
    meta,
    rootDir,
    stateDir,
    resources,
    signal,
    log,
  }) => {
    if (!(shims instanceof LocalShimManager)) throw failedPrecondition("the shim manager is not that of berth");
    meta.platforms = config.platforms.map((platform) => parsePlatform(platform));
    meta.info = createRuntimePluginInfo(shims);
    meta.exports.set("log-uri-schemes", "fifo,binary,binary-v2,file");
    const records = recordsOf(metadata);
    return resources.use(await openTaskRuntime({ shims, events, mounts, rootDir, stateDir, ...records, signal, log }));
  },
});

/** `io.containerd.grpc.v1.tasks`. */
export const tasksServicePlugin = definePlugin({
  type: GrpcPlugin,
  id: "tasks",
  requires: { runtime: one(RuntimePlugin), metadata: one(MetadataPlugin), deprecations: optional(WarningPlugin) },
  init: ({ plugins, host, log }) => {
    const { runtime, metadata, deprecations } = plugins;
    const options = { runtime, metadata, timeouts: runtimeTimeouts(host.timeouts), log };
    const service = createTasksService(deprecations === undefined ? options : { ...options, deprecations });
    return [serviceRegistration(Tasks, service)];
  },
});

export { cgroupsMonitorPlugin, restartMonitorPlugin } from "./plugins/monitor-plugins.ts";

/** What a runtime wants to know of records. */
function recordsOf(metadata: MetadataStore): Required<Pick<TaskRuntimeOptions, "findRuntimeName" | "hasSandbox">> {
  return {
    findRuntimeName: async (namespace, id) =>
      (await metadata.namespace(namespace).containers.get(id).catch(ignoreNotFound))?.runtime.name,
    hasSandbox: async (namespace, id) =>
      (await metadata.namespace(namespace).sandboxes.get(id).catch(ignoreNotFound)) !== undefined,
  };
}

function shortEnough(directory: string): string {
  return Buffer.byteLength(directory) <= MAX_SHIM_SOCKET_DIR_BYTES ? directory : DEFAULT_SHIM_SOCKET_DIR;
}
