import { join } from "node:path";

import { contentPlugin, contentServicePlugin } from "@berth/content/plugin";
import type { StreamProcessor } from "@berth/diff";
import { createErofsPlugin, createWalkingPlugin, diffServicePlugin } from "@berth/diff/plugin";
import { eventsServicePlugin, exchangePlugin, ttrpcEventsServicePlugin } from "@berth/events/plugin";
import { deprecationsPlugin, healthPlugin, introspectionPlugin, versionPlugin } from "@berth/introspection/plugin";
import {
  containersServicePlugin,
  gcPlugin,
  imagesServicePlugin,
  leasePlugin,
  leasesServicePlugin,
  metadataPlugin,
  namespacesServicePlugin,
  sandboxesServicePlugin,
  sandboxStorePlugin,
} from "@berth/metadata/plugin";
import { erofsHandlerPlugin, loopHandlerPlugin, mountManagerPlugin, mountsServicePlugin } from "@berth/mounts/plugin";
import { nriPlugin } from "@berth/nri/plugin";
import type { Plugin } from "@berth/plugin-core";
import {
  cgroupsMonitorPlugin,
  restartMonitorPlugin,
  shimManagerPlugin,
  taskRuntimePlugin,
  tasksServicePlugin,
} from "@berth/runtime/plugin";
import { sandboxControllersServicePlugin, shimSandboxControllerPlugin } from "@berth/sandbox/plugin";
import {
  blockfilePlugin,
  btrfsPlugin,
  devmapperPlugin,
  erofsPlugin,
  nativePlugin,
  overlayfsPlugin,
  snapshotServicePlugin,
  zfsPlugin,
} from "@berth/snapshotters/plugin";
import { streamingServicePlugin, streamManagerPlugin } from "@berth/streaming/plugin";
import { imageVerifierPlugin, transferPlugin, transferServicePlugin } from "@berth/transfer/plugin";

import type { DaemonConfig } from "./config/daemon-config.ts";
import { findOwnShim } from "./own-shim.ts";
import { debugServerPlugin } from "./servers/debug-server-plugin.ts";
import { grpcServerPlugin, grpcTcpServerPlugin } from "./servers/grpc-server-plugin.ts";
import { metricsPlugins } from "./servers/metrics-server-plugin.ts";
import { ttrpcServerPlugin } from "./servers/ttrpc-server-plugin.ts";
import { REVISION, VERSION } from "./version.ts";

/**
 * This lists the plugins of the daemon, in containerd's order: the boot keeps it where requirements do not say otherwise.
 */
export function daemonPlugins(config: DaemonConfig): readonly Plugin[] {
  return [
    contentPlugin,
    deprecationsPlugin,
    exchangePlugin,
    erofsHandlerPlugin,
    loopHandlerPlugin,
    blockfilePlugin,
    btrfsPlugin,
    devmapperPlugin,
    erofsPlugin,
    nativePlugin,
    overlayfsPlugin,
    zfsPlugin,
    cgroupsMonitorPlugin,
    metadataPlugin,
    gcPlugin,
    mountManagerPlugin,
    nriPlugin({
      defaultSocketPath: join(config.state, "nri", "nri.sock"),
      runtimeName: "containerd",
      runtimeVersion: VERSION,
    }),
    createErofsPlugin({ processors: streamProcessors(config) }),
    createWalkingPlugin({
      temporaryDirectory: join(config.root, "tmpmounts"),
      processors: streamProcessors(config),
    }),
    shimManagerPlugin({
      ownShim: findOwnShim(),
      version: VERSION,
      debug: config.debug.level === "debug" || config.debug.level === "trace",
    }),
    taskRuntimePlugin,
    containersServicePlugin,
    contentServicePlugin,
    diffServicePlugin,
    eventsServicePlugin,
    imagesServicePlugin,
    introspectionPlugin,
    leasePlugin,
    leasesServicePlugin,
    mountsServicePlugin,
    namespacesServicePlugin,
    sandboxStorePlugin,
    shimSandboxControllerPlugin,
    sandboxControllersServicePlugin,
    sandboxesServicePlugin,
    imageVerifierPlugin,
    transferPlugin,
    snapshotServicePlugin,
    streamManagerPlugin,
    streamingServicePlugin,
    tasksServicePlugin,
    transferServicePlugin,
    versionPlugin({ version: VERSION, revision: REVISION }),
    healthPlugin,
    ttrpcEventsServicePlugin,
    ttrpcServerPlugin,
    restartMonitorPlugin,
    ...metricsPlugins(config),
    grpcServerPlugin({ defaultAddress: `${config.state}/berth.sock` }),
    grpcTcpServerPlugin,
    debugServerPlugin,
  ];
}

function streamProcessors(config: DaemonConfig): readonly StreamProcessor[] {
  return Object.entries(config.stream_processors).map(([id, processor]) => ({ id, ...processor }));
}
