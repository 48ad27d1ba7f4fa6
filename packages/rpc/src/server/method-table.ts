import type { DescMethod, DescService } from "@bufbuild/protobuf";
import type { ConnectRouter, ConnectRouterOptions, MethodImplSpec, ServiceImpl } from "@connectrpc/connect";
import { createConnectRouter, createMethodImplSpec, createServiceImplSpec } from "@connectrpc/connect";
import type { UniversalHandler } from "@connectrpc/connect/protocol";

/** One service and what answers it. */
export interface ServiceRoute {
  readonly service: DescService;
  // The implementation of a service known only at run time; `serviceRoute` checks it where the type is known.
  readonly implementation: object;
}

/** What a server serves: Connect routes, or a list made with {@link serviceRoute}. */
export type RpcRoutes = ((router: ConnectRouter) => void) | readonly ServiceRoute[];

/** This pairs a service with its implementation, type checked; methods left out answer unimplemented. */
export function serviceRoute<S extends DescService>(service: S, implementation: Partial<ServiceImpl<S>>): ServiceRoute {
  return { service, implementation };
}

/** The methods of a server, by request path (`/containerd.services.version.v1.Version/Version`). */
export interface MethodTable {
  readonly specs: ReadonlyMap<string, MethodImplSpec>;
  readonly handlers: ReadonlyMap<string, UniversalHandler>;
}

/** This runs the routes once and collects both the plain implementations and Connect's own handlers for them. */
export function collectMethods(routes: RpcRoutes, options: ConnectRouterOptions): MethodTable {
  const specs = new Map<string, MethodImplSpec>();
  const connect = createConnectRouter(options);
  const router = recordingRouter(connect, specs);
  if (typeof routes === "function") routes(router);
  else for (const { service, implementation } of routes) router.service(service, implementation);
  return { specs, handlers: new Map(connect.handlers.map((handler) => [handler.requestPath, handler])) };
}

function recordingRouter(connect: ConnectRouter, specs: Map<string, MethodImplSpec>): ConnectRouter {
  const record = (spec: MethodImplSpec): void => {
    specs.set(requestPath(spec.method), spec);
  };
  const router: ConnectRouter = {
    handlers: connect.handlers,
    service(service, implementation, options) {
      connect.service(service, implementation, options);
      Object.values(createServiceImplSpec(service, implementation).methods).forEach(record);
      return router;
    },
    rpc(method, implementation, options) {
      connect.rpc(method, implementation, options);
      record(createMethodImplSpec(method, implementation));
      return router;
    },
  };
  return router;
}

/** This returns the path on which a method is called. */
function requestPath(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}
