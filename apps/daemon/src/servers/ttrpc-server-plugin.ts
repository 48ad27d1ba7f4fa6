import { createServer, Socket } from "node:net";

import { permissionDenied } from "@berth/errors";
import { peerCredentials, socketFd } from "@berth/linux/sockets";
import type { Plugin } from "@berth/plugin-core";
import { all, definePlugin, skipPlugin } from "@berth/plugin-core";
import { ServerPlugin, TtrpcPlugin } from "@berth/plugin-core/types";
import { bindUnix } from "@berth/rpc";
import { createTtrpcServer } from "@berth/ttrpc";
import { z } from "zod";

/** `server.v1 ttrpc`: where shims send their events. Only processes of the daemon's own user are let in. */
export const ttrpcServerPlugin: Plugin = definePlugin({
  type: ServerPlugin,
  id: "ttrpc",
  requires: { services: all(TtrpcPlugin) },
  config: z.object({
    address: z.string().default(""),
    uid: z.number().int().min(0).default(0),
    gid: z.number().int().min(0).default(0),
  }),
  async init({ plugins, config, host, resources, log }) {
    const services = [...plugins.services.values()].flat();
    if (services.length === 0) throw skipPlugin("no service is loaded");
    const address = config.address || host.ttrpcAddress;
    const server = resources.use(
      createTtrpcServer({
        services,
        log,
        authorize(socket) {
          if (!(socket instanceof Socket)) throw permissionDenied("peer is no socket");
          const { uid, gid } = peerCredentials(socketFd(socket));
          if (uid === process.getuid?.() && gid === process.getgid?.()) return;
          throw permissionDenied(`peer with uid ${uid} and gid ${gid} may not send events`);
        },
      }),
    );
    const listener = createServer();
    const { uid, gid } = config;
    await bindUnix(listener, { path: address, directoryMode: 0o770, mode: 0o660, uid, gid });
    await server.listen(listener);
    log.info("serving...", { address });
    return server;
  },
});
