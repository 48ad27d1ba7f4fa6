import { readFile } from "node:fs/promises";

import type { Logger } from "@berth/core/log";
import { invalidArgument, wrapError } from "@berth/errors";
import type { Plugin, ServiceRegistration } from "@berth/plugin-core";
import { all, definePlugin, skipPlugin } from "@berth/plugin-core";
import type { CallMetrics } from "@berth/plugin-core/types";
import { GrpcPlugin, MetricsPlugin, ServerPlugin } from "@berth/plugin-core/types";
import type { RpcServer, TlsIdentity } from "@berth/rpc";
import { createRpcServer } from "@berth/rpc";
import { z } from "zod";

import { messageRegistry } from "./message-registry.ts";
import { formatAddress, parseTcpAddress } from "./tcp-address.ts";

/** Largest message by default, as in containerd: 16 MiB. */
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;

/** Limits of messages, of any listener. */
const messageSizes = {
  max_recv_message_size: z.number().int().min(0).default(MAX_MESSAGE_BYTES),
  max_send_message_size: z.number().int().min(0).default(MAX_MESSAGE_BYTES),
};

/** What a listener serves, and how much at once. */
interface ServedCalls {
  readonly services: ReadonlyMap<string, readonly ServiceRegistration[]>;
  readonly metrics: ReadonlyMap<string, CallMetrics>;
  readonly config: { readonly max_recv_message_size: number; readonly max_send_message_size: number };
  readonly log: Logger;
}

/** `server.v1 grpc`: the daemon's socket, for gRPC, gRPC-Web and Connect. */
export function grpcServerPlugin(options: { readonly defaultAddress: string }): Plugin {
  return definePlugin({
    type: ServerPlugin,
    id: "grpc",
    requires: { services: all(GrpcPlugin), metrics: all(MetricsPlugin) },
    config: z.object({
      address: z.string().default(options.defaultAddress),
      uid: z.number().int().min(0).default(0),
      gid: z.number().int().min(0).default(0),
      ...messageSizes,
    }),
    async init({ plugins, config, resources, log }) {
      const server = resources.use(createDaemonServer({ ...plugins, config, log }));
      const { address: path, uid, gid } = config;
      await server.listen({ path, directoryMode: 0o770, mode: 0o660, uid, gid });
      log.info("serving...", { address: path });
      return server;
    },
  });
}

/** `server.v1 grpc-tcp`: the same on a port, encrypted where there is a certificate. */
export const grpcTcpServerPlugin: Plugin = definePlugin({
  type: ServerPlugin,
  id: "grpc-tcp",
  requires: { services: all(GrpcPlugin), metrics: all(MetricsPlugin) },
  config: z.object({
    address: z.string().default(""),
    tls_ca: z.string().default(""),
    tls_cert: z.string().default(""),
    tls_key: z.string().default(""),
    tls_common_name: z.string().default(""),
    ...messageSizes,
  }),
  async init({ plugins, config, resources, log }) {
    if (config.address === "") throw skipPlugin("no TCP address is configured");
    if (config.tls_common_name !== "") log.warn("tls_common_name chooses among the certificates of Windows: ignored");
    const { host, port } = parseTcpAddress(config.address);
    const tls = await readIdentity(config);
    const server = resources.use(createDaemonServer({ ...plugins, config, log }));
    const { address } = await server.listen({ host, port, tls });
    if (tls?.clientCa === undefined) {
      const lack = tls === undefined ? "TLS" : "an authority of clients (tls_ca)";
      log.warn(`serving gRPC over TCP without ${lack}: whoever reaches the port is root on this machine`);
    }
    log.info("serving...", { address: formatAddress(address) });
    return server;
  },
});

function createDaemonServer({ services, metrics, config, log }: ServedCalls): RpcServer {
  const routes = [...services.values()].flat();
  if (routes.length === 0) throw skipPlugin("no service is loaded");
  return createRpcServer({
    routes,
    registry: messageRegistry,
    interceptors: [...metrics.values()].map(({ interceptor }) => interceptor),
    maxReceiveBytes: config.max_recv_message_size || MAX_MESSAGE_BYTES,
    maxSendBytes: config.max_send_message_size || MAX_MESSAGE_BYTES,
    log,
  });
}

/** @throws invalid_argument - one of certificate and key is missing @throws not_found, permission_denied - a file cannot be read */
async function readIdentity(config: Readonly<Record<"tls_ca" | "tls_cert" | "tls_key", string>>) {
  const { tls_ca: clientCa, tls_cert: cert, tls_key: key } = config;
  if (cert === "" && key === "" && clientCa === "") return undefined;
  // An authority alone would leave the port open to everybody, against what it says.
  if (cert === "" || key === "") throw invalidArgument("tls_cert and tls_key are needed, both, for TLS");
  const read = async (path: string): Promise<string> => {
    try {
      return await readFile(path, "utf8");
    } catch (error) {
      throw wrapError(error, `read ${path}`);
    }
  };
  const identity: TlsIdentity = { cert: await read(cert), key: await read(key) };
  return clientCa === "" ? identity : { ...identity, clientCa: await read(clientCa) };
}
