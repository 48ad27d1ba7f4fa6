import type { DaemonConfig } from "./daemon-config.ts";
import { isTable } from "./merge-config.ts";

/** Plugin without which nobody can talk to the daemon. */
export const GRPC_SERVER = "io.containerd.server.v1.grpc";

/** This returns the address that the gRPC server plugin listens on. */
export function grpcAddress(config: DaemonConfig): string {
  const table = config.plugins[GRPC_SERVER];
  const address = isTable(table) ? table["address"] : undefined;
  return typeof address === "string" && address !== "" ? address : `${config.state}/berth.sock`;
}
