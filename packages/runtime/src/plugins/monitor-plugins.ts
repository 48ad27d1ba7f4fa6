import { parseGoDuration } from "@berth/core/go-duration";
import { hostPlatform } from "@berth/oci";
import { definePlugin, goDuration, one } from "@berth/plugin-core";
import {
  ContainerMonitorPlugin,
  EventPlugin,
  MetadataPlugin,
  RuntimePlugin,
  TaskMonitorPlugin,
} from "@berth/plugin-core/types";
import { z } from "zod";

import { RESTART_POLICIES } from "../restart/restart-labels.ts";
import { RestartMonitor } from "../restart/restart-monitor.ts";

const DEFAULT_INTERVAL_MS = 10_000;

/** `io.containerd.monitor.container.v1.restart`: keeps labelled containers running. */
export const restartMonitorPlugin = definePlugin({
  type: ContainerMonitorPlugin,
  id: "restart",
  requires: { metadata: one(MetadataPlugin), runtime: one(RuntimePlugin) },
  config: z.object({ interval: goDuration.default("10s") }),
  init: ({ plugins, config, meta, resources, log }) => {
    meta.capabilities.push(...RESTART_POLICIES);
    const configuredMs = parseGoDuration(config.interval);
    const intervalMs = configuredMs > 0 ? Math.min(Math.max(1, configuredMs), 2 ** 31 - 1) : DEFAULT_INTERVAL_MS;
    return resources.use(new RestartMonitor({ ...plugins, intervalMs, log }));
  },
});

/**
 * `io.containerd.monitor.task.v1.cgroups`: says whether metrics of tasks are shown to Prometheus. Shims tell of tasks without memory
 * by themselves.
 */
export const cgroupsMonitorPlugin = definePlugin({
  type: TaskMonitorPlugin,
  id: "cgroups",
  requires: { events: one(EventPlugin) },
  config: z.object({ no_prometheus: z.boolean().default(false) }),
  init: ({ config, meta }) => {
    meta.platforms = [hostPlatform()];
    return { prometheus: !config.no_prometheus };
  },
});
