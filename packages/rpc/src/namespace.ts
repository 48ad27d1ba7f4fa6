import type { HandlerContext, Interceptor } from "@connectrpc/connect";
import { findCallHeader, findCallNamespace, getCallNamespace } from "@berth/core/call-context";
import type { Namespace } from "@berth/core/namespaces";

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
  return getCallNamespace(context, NAMESPACE_HEADER);
}

/**
 * This returns the namespace a call is made in, `undefined` when the caller named none.
 * @throws invalid_argument - the name is not a valid identifier
 */
export function findNamespace(context: HandlerContext): Namespace | undefined {
  return findCallNamespace(context, NAMESPACE_HEADER);
}

/** This returns the lease named by the caller, `undefined` when there is none. */
export function leaseOf(context: HandlerContext): string | undefined {
  return findCallHeader(context, LEASE_HEADER);
}

/** This makes a client interceptor that names the namespace of each call which does not name one itself. */
export function namespaceInterceptor(namespace: string): Interceptor {
  return (next) => (request) => {
    if (!request.header.has(NAMESPACE_HEADER)) request.header.set(NAMESPACE_HEADER, namespace);
    return next(request);
  };
}
