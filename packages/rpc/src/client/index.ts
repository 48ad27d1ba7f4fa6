export type { BytesField } from "../wire/bulk-message.ts";
export { bulkAny, bulkMessage } from "../wire/bulk-message.ts";
export { createClient } from "./create-client.ts";
export type { UnixTransport, UnixTransportOptions } from "./unix-transport.ts";
export { createUnixTransport } from "./unix-transport.ts";
