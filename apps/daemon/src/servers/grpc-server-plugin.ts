import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";

import type { Plugin } from "@berth/plugin-core";
import { all, definePlugin, skipPlugin } from "@berth/plugin-core";
import { GrpcPlugin, ServerPlugin } from "@berth/plugin-core/types";
import { createRpcServer } from "@berth/rpc";
import { z } from "zod";

import { messageRegistry } from "./message-registry.ts";

/** Largest message by default, as in containerd: 16 MiB. */
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;

/** `server.v1 grpc`: the daemon's socket, for gRPC, gRPC-Web and Connect. */
export function grpcServerPlugin(options: { readonly defaultAddress: string }): Plugin {
  return definePlugin({
    type: ServerPlugin,
    id: "grpc",
    requires: { services: all(GrpcPlugin) },
    config: z.object({
      address: z.string().default(options.defaultAddress),
      uid: z.number().int().min(0).default(0),
      gid: z.number().int().min(0).default(0),
      max_recv_message_size: z.number().int().min(0).default(MAX_MESSAGE_BYTES),
      max_send_message_size: z.number().int().min(0).default(MAX_MESSAGE_BYTES),
    }),
    async init({ plugins, config, resources, log }) {
      const routes = [...plugins.services.values()].flat();
      if (routes.length === 0) throw skipPlugin("no service is loaded");
      const server = resources.use(
        createRpcServer({
          routes,
          registry: messageRegistry,
          maxReceiveBytes: config.max_recv_message_size || MAX_MESSAGE_BYTES,
          maxSendBytes: config.max_send_message_size || MAX_MESSAGE_BYTES,
          log,
        }),
      );
      await mkdir(dirname(config.address), { recursive: true, mode: 0o770 });
      await server.listen({ path: config.address, mode: 0o660, uid: config.uid, gid: config.gid });
      log.info("serving...", { address: config.address });
      return server;
    },
  });
}
