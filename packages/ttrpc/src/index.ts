export { parseTtrpcAddress } from "./address.ts";
export type { TtrpcTarget, TtrpcTransport, TtrpcTransportOptions, TtrpcTransportSettings } from "./client/transport.ts";
export { createTtrpcTransport } from "./client/transport.ts";
export { findTtrpcNamespace, TTRPC_NAMESPACE_KEY, ttrpcNamespaceOf } from "./namespace.ts";
export type { TtrpcListener, TtrpcListenTarget, TtrpcServer, TtrpcServerOptions } from "./server/server.ts";
export { createTtrpcServer } from "./server/server.ts";
export type { TtrpcService } from "./server/service-table.ts";
export { ttrpcService } from "./server/service-table.ts";
export { isServerClosing, serverClosing } from "./wire/server-closing.ts";
