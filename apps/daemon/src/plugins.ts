import { contentPlugin, contentServicePlugin } from "@berth/content/plugin";
import { eventsServicePlugin, exchangePlugin, ttrpcEventsServicePlugin } from "@berth/events/plugin";
import { deprecationsPlugin, healthPlugin, introspectionPlugin, versionPlugin } from "@berth/introspection/plugin";
import type { Plugin } from "@berth/plugin-core";

import type { DaemonConfig } from "./config/daemon-config.ts";
import { grpcServerPlugin } from "./servers/grpc-server-plugin.ts";
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
    contentServicePlugin,
    eventsServicePlugin,
    introspectionPlugin,
    versionPlugin({ version: VERSION, revision: REVISION }),
    healthPlugin,
    ttrpcEventsServicePlugin,
    ttrpcServerPlugin,
    grpcServerPlugin({ defaultAddress: `${config.state}/berth.sock` }),
  ];
}
