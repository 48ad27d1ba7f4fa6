export type { Transport } from "@connectrpc/connect";
export type { UnixTransport, UnixTransportOptions } from "@berth/rpc/client";
export { createUnixTransport } from "@berth/rpc/client";
