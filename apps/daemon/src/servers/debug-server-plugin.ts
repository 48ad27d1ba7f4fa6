import { createServer } from "node:http";

import type { Plugin } from "@berth/plugin-core";
import { definePlugin, skipPlugin } from "@berth/plugin-core";
import { ServerPlugin } from "@berth/plugin-core/types";
import { bindTcp, bindUnix } from "@berth/rpc";
import { z } from "zod";

import { closeHttpServer } from "./http-server.ts";
import { formatAddress, parseTcpAddress } from "./tcp-address.ts";

/** `server.v1 debug`: profiles of the daemon, on a socket or a port. What it needs is loaded only where there is an address. */
export const debugServerPlugin: Plugin = definePlugin({
  type: ServerPlugin,
  id: "debug",
  config: z.object({
    address: z.string().default(""),
    uid: z.number().int().min(0).default(0),
    gid: z.number().int().min(0).default(0),
  }),
  async init({ config, resources, log }) {
    const { address, uid, gid } = config;
    if (address === "") throw skipPlugin("no debug address is configured");
    const isSocket = address.startsWith("/");
    const { DebugHandler } = await import("../debug/debug-handler.ts");
    const handler = resources.use(await DebugHandler.start({ allowSnapshots: isSocket, log }));
    const server = createServer((request, response) => void handler.handle(request, response));
    if (isSocket) await bindUnix(server, { path: address, directoryMode: 0o770, mode: 0o660, uid, gid });
    else await bindTcp(server, parseTcpAddress(address));
    resources.defer(() => closeHttpServer(server));
    log.info("serving...", { address: formatAddress(server.address()) });
    return { [Symbol.asyncDispose]: async () => {} };
  },
});
