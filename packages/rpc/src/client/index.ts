export { createClient } from "./create-client.ts";
export type { UnixTransport, UnixTransportOptions } from "./unix-transport.ts";
export { createUnixTransport } from "./unix-transport.ts";
