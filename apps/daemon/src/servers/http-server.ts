import type { Server } from "node:http";

/** This ends all connections of a server and stops listening. */
export function closeHttpServer(server: Server): void {
  server.close();
  server.closeAllConnections();
}
