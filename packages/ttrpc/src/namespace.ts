import type { HandlerContext } from "@connectrpc/connect";
import { findCallNamespace, getCallNamespace } from "@berth/core/call-context";
import type { Namespace } from "@berth/core/namespaces";

/** The metadata key that names the namespace of a ttrpc call. */
export const TTRPC_NAMESPACE_KEY = "containerd-namespace-ttrpc";

/**
 * This returns the namespace a ttrpc call is made in.
 * @throws failed_precondition - the caller named none
 * @throws invalid_argument - the name is not a valid identifier
 */
export function ttrpcNamespaceOf(context: HandlerContext): Namespace {
  return getCallNamespace(context, TTRPC_NAMESPACE_KEY);
}

/**
 * This returns the namespace a ttrpc call is made in, `undefined` when the caller named none.
 * @throws invalid_argument - the name is not a valid identifier
 */
export function findTtrpcNamespace(context: HandlerContext): Namespace | undefined {
  return findCallNamespace(context, TTRPC_NAMESPACE_KEY);
}
