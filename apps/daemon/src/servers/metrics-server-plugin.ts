import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:http";

import type { Logger } from "@berth/core/log";
import { messageOf } from "@berth/errors";
import type { Plugin } from "@berth/plugin-core";
import { all, definePlugin, optional, skipPlugin } from "@berth/plugin-core";
import {
  GcPlugin,
  MetadataPlugin,
  MetricsPlugin,
  NriPlugin,
  RuntimePlugin,
  ServerPlugin,
  TaskMonitorPlugin,
} from "@berth/plugin-core/types";
import { bindTcp } from "@berth/rpc";
import type { Registry } from "prom-client";
import { z } from "zod";

import type { DaemonConfig } from "../config/daemon-config.ts";
import { isTable } from "../config/merge-config.ts";
import { closeHttpServer } from "./http-server.ts";
import { formatAddress, parseTcpAddress } from "./tcp-address.ts";

const METRICS_SERVER = "io.containerd.server.v1.metrics";
const PAGE = "/v1/metrics";
const STATS_TIMEOUT = "io.containerd.timeout.metrics.shimstats";
/** Zero in the configuration means that there is no limit. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** Nothing is counted, and nothing loaded, for a page that nobody can see. */
function isMetricsPageServed(config: DaemonConfig): boolean {
  const table = config.plugins[METRICS_SERVER];
  return isTable(table) && typeof table["address"] === "string" && table["address"] !== "";
}

/** Both plugins of metrics, which share what they count. */
export function metricsPlugins(daemon: DaemonConfig): readonly Plugin[] {
  let made: Promise<Registry> | undefined;
  const registry = (): Promise<Registry> =>
    (made ??= import("../metrics/registry.ts").then(({ createRegistry }) => createRegistry()));
  return [grpcMetricsPlugin(daemon, registry), metricsServerPlugin(registry)];
}

/** `metrics.v1 grpc-prometheus`: counts calls. */
function grpcMetricsPlugin(daemon: DaemonConfig, registryOf: () => Promise<Registry>): Plugin {
  return definePlugin({
    type: MetricsPlugin,
    id: "grpc-prometheus",
    config: z.object({ grpc_histogram: z.boolean().default(false) }),
    async init({ config }) {
      if (!isMetricsPageServed(daemon)) throw skipPlugin("no metrics address is configured");
      const [{ createCallMetrics }, registry] = await Promise.all([import("../metrics/call-metrics.ts"), registryOf()]);
      return createCallMetrics({ registry, histogram: config.grpc_histogram });
    },
  });
}

/** `server.v1 metrics`: a page for Prometheus, on a port. */
function metricsServerPlugin(registryOf: () => Promise<Registry>): Plugin {
  return definePlugin({
    type: ServerPlugin,
    id: "metrics",
    requires: {
      calls: all(MetricsPlugin),
      collector: optional(GcPlugin),
      metadata: optional(MetadataPlugin),
      monitor: optional(TaskMonitorPlugin),
      nri: optional(NriPlugin),
      runtime: optional(RuntimePlugin),
    },
    config: z.object({ address: z.string().default("") }),
    async init({ plugins, config, host, resources, log }) {
      if (config.address === "") throw skipPlugin("no metrics address is configured");
      const [registry, { countCollections, gauge }, { renderTaskPage }] = await Promise.all([
        registryOf(),
        import("../metrics/registry.ts"),
        import("../metrics/task-page.ts"),
      ]);
      const { collector, metadata, monitor, nri, runtime } = plugins;
      if (nri)
        gauge(registry, "containerd_nri_active_plugins_total", "NRI plugins that take part", () => nri.plugins.length);
      if (collector) resources.use(countCollections(registry, collector));
      const timeoutMs = host.timeouts.get(STATS_TIMEOUT) || MAX_TIMER_MS;
      const render = async (): Promise<string> => {
        const page = await registry.metrics();
        if (!metadata || !runtime || !monitor?.prometheus) return page;
        return `${page}\n${await renderTaskPage({ metadata, runtime, timeoutMs, log })}`;
      };
      const server = createServer((request, response) => void sendPage({ request, response, render, log }));
      await bindTcp(server, parseTcpAddress(config.address));
      resources.defer(() => closeHttpServer(server));
      log.info("serving...", { address: formatAddress(server.address()) });
      return { [Symbol.asyncDispose]: async () => {} };
    },
  });
}

interface PageRequest {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly render: () => Promise<string>;
  readonly log: Logger;
}

async function sendPage({ request, response, render, log }: PageRequest): Promise<void> {
  response.on("error", () => {});
  const [path] = (request.url ?? "").split("?");
  if (path !== PAGE) {
    response.writeHead(404, { "content-type": "text/plain" }).end(`metrics are at ${PAGE}\n`);
    return;
  }
  try {
    const page = await render();
    response.writeHead(200, { "content-type": "text/plain; version=0.0.4; charset=utf-8" }).end(page);
  } catch (error) {
    log.warn("metrics page failed", { error: messageOf(error) });
    response.writeHead(500, { "content-type": "text/plain" }).end(`${messageOf(error)}\n`);
  }
}
