export type { RpcListener, RpcServer, RpcServerOptions } from "./rpc-server.ts";
export { createRpcServer } from "./rpc-server.ts";
export type { TcpAddress, TlsIdentity, UnixAddress } from "./server/bind.ts";
export { bindTcp, bindUnix } from "./server/bind.ts";
export type { RpcRoutes, ServiceRoute } from "./server/method-table.ts";
export { serviceRoute } from "./server/method-table.ts";
export type { CallRecord } from "./server/observe.ts";
export {
  findNamespace,
  LEASE_HEADER,
  leaseOf,
  NAMESPACE_HEADER,
  namespaceInterceptor,
  namespaceOf,
} from "./namespace.ts";
export type { BulkRead, BytesField } from "./wire/bulk-message.ts";
export { readBulkMessage } from "./wire/bulk-message.ts";
export { withEncoding } from "./wire/encoded-message.ts";
export { releaseMessage } from "./wire/frame.ts";
