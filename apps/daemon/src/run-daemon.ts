import { performance } from "node:perf_hooks";

import { parseGoDuration } from "@berth/core/go-duration";
import type { Logger } from "@berth/core/log";
import { failedPrecondition, messageOf, wrapError } from "@berth/errors";
import { limitArenas, returnMemoryAtRest } from "@berth/linux/memory";
import type { PluginGraph } from "@berth/plugin-core";
import { bootPlugins } from "@berth/plugin-core";
import { ServerPlugin } from "@berth/plugin-core/types";

import type { DaemonConfig } from "./config/daemon-config.ts";
import { GRPC_SERVER, grpcAddress } from "./config/grpc-address.ts";
import { openDirectories } from "./directories.ts";
import { notifySystemd } from "./notify.ts";
import { placeProcess } from "./place-process.ts";
import { daemonPlugins } from "./plugins.ts";
import { proxyPlugins } from "./proxies/proxy-plugins.ts";
import { reportCrash } from "./report-crash.ts";
import { handleSignals } from "./signals.ts";

/** Fewer than there are by now: no more are made. Threads that unpack free much, and seldom at the same time. */
const MALLOC_ARENAS = 2;

/** The longest that stopping may take; what is not done then is left to the next start. */
const STOP_DEADLINE_MS = 15_000;

/**
 * This runs the daemon until SIGTERM, SIGINT or a fatal error. Containers go on without it.
 *
 * @throws whatever kept it from starting, or made it stop
 */
export async function runDaemon(config: DaemonConfig, log: Logger): Promise<void> {
  const started = performance.now();
  using _crash = reportCrash(log);
  using signals = handleSignals(log);
  limitArenas(MALLOC_ARENAS);
  using _returning = returnMemoryAtRest();
  await using directories = await openDirectories(config, log);
  log.info("starting berth", { root: directories.root, state: directories.state, pid: process.pid });
  await placeProcess(config, log);
  const graph = await boot(config, directories, log, signals).catch((error: unknown) => {
    if (signals.stop.aborted && !isFailure(signals.stop)) return undefined;
    throw error;
  });
  if (graph === undefined) {
    log.info("stopped during boot");
    return;
  }
  try {
    checkServing(graph);
    await notifySystemd("READY=1", log);
    log.info(`berth successfully booted in ${((performance.now() - started) / 1000).toFixed(6)}s`);
    await aborted(signals.stop);
  } finally {
    await notifySystemd("STOPPING=1", log);
    await stop(graph, log);
  }
  if (isFailure(signals.stop)) throw wrapError(signals.stop.reason, "daemon stopped");
}

async function boot(
  config: DaemonConfig,
  directories: { readonly root: string; readonly state: string },
  log: Logger,
  signals: { readonly stop: AbortSignal; fail(error: Error): void },
): Promise<PluginGraph> {
  const address = grpcAddress(config);
  const builtIn = daemonPlugins(config);
  return bootPlugins({
    plugins: [...builtIn, ...proxyPlugins(config, builtIn, log)],
    disabled: config.disabled_plugins,
    required: config.required_plugins,
    config: new Map(Object.entries(config.plugins)),
    root: directories.root,
    state: directories.state,
    grpcAddress: address,
    ttrpcAddress: `${address}.ttrpc`,
    timeouts: new Map(Object.entries(config.timeouts).map(([name, text]) => [name, parseGoDuration(text)])),
    log,
    signal: signals.stop,
    fatal: (error) => signals.fail(error),
  });
}

function checkServing(graph: PluginGraph): void {
  if (graph.loaded(ServerPlugin).has("grpc")) return;
  const record = graph.records.find(({ type, id }) => `${type}.${id}` === GRPC_SERVER);
  throw failedPrecondition(
    `the daemon's socket is not served: ${messageOf(record?.error ?? "its plugin is disabled")}`,
  );
}

async function stop(graph: PluginGraph, log: Logger): Promise<void> {
  const deadline = AbortSignal.timeout(STOP_DEADLINE_MS);
  await Promise.race([
    graph[Symbol.asyncDispose](),
    aborted(deadline).then(() =>
      log.warn("stopping took too long, leaving the rest", { deadlineMs: STOP_DEADLINE_MS }),
    ),
  ]);
  log.info("stopped");
}

function isFailure(signal: AbortSignal): boolean {
  const reason: unknown = signal.reason;
  return signal.aborted && !(reason instanceof Error && reason.name === "AbortError");
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
