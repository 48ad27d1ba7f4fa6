import type { AddressInfo } from "node:net";

import { invalidArgument } from "@berth/errors";
import type { TcpAddress } from "@berth/rpc";

/** This reads `host:port`, `[v6]:port` or `:port`, which is every address of the machine. @throws invalid_argument */
export function parseTcpAddress(text: string): TcpAddress {
  const match = /^(?:\[([^\]]*)\]|([^:]*)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535) throw invalidArgument(`${JSON.stringify(text)} is no host:port`);
  return { host: match[1] || match[2] || "", port };
}

/** This writes where a server listens: the port may have been chosen by the kernel. */
export function formatAddress(address: string | AddressInfo | null): string {
  if (address === null || typeof address === "string") return address ?? "";
  return address.family === "IPv6" ? `[${address.address}]:${address.port}` : `${address.address}:${address.port}`;
}
