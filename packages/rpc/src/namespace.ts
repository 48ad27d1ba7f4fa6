import type { HandlerContext, Interceptor } from "@connectrpc/connect";
import type { Namespace } from "@berth/core/namespaces";
import { parseNamespace } from "@berth/core/namespaces";
import { failedPrecondition } from "@berth/errors";

import { CallContext } from "./server/call-context.ts";

/** The request header that names the namespace of a call. */
export const NAMESPACE_HEADER = "containerd-namespace";

/** The request header that names the lease to which a call's new resources belong. */
export const LEASE_HEADER = "containerd-lease";

/**
 * This returns the namespace a call is made in.
 * @throws failed_precondition - the caller named none
 * @throws invalid_argument - the name is not a valid identifier
 */
export function namespaceOf(context: HandlerContext): Namespace {
  const namespace = findNamespace(context);
  if (namespace === undefined) throw failedPrecondition("namespace is required");
  return namespace;
}

/**
 * This returns the namespace a call is made in, `undefined` when the caller named none.
 * @throws invalid_argument - the name is not a valid identifier
 */
export function findNamespace(context: HandlerContext): Namespace | undefined {
  const text = findHeader(context, NAMESPACE_HEADER);
  return text === undefined || text === "" ? undefined : parseNamespace(text);
}

/** This returns the lease named by the caller, `undefined` when there is none. */
export function leaseOf(context: HandlerContext): string | undefined {
  const text = findHeader(context, LEASE_HEADER);
  return text === undefined || text === "" ? undefined : text;
}

function findHeader(context: HandlerContext, name: string): string | undefined {
  // The short way does not build the `Headers` of a call that needs one of them.
  if (context instanceof CallContext) return context.findHeader(name);
  return context.requestHeader.get(name) ?? undefined;
}

/** This makes a client interceptor that names the namespace of each call which does not name one itself. */
export function namespaceInterceptor(namespace: string): Interceptor {
  return (next) => (request) => {
    if (!request.header.has(NAMESPACE_HEADER)) request.header.set(NAMESPACE_HEADER, namespace);
    return next(request);
  };
}
