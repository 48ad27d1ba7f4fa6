import type { HandlerContext } from "@connectrpc/connect";
import type { Namespace } from "@berth/core/namespaces";
import { parseNamespace } from "@berth/core/namespaces";
import { failedPrecondition } from "@berth/errors";

import { CallContext } from "./server/call-context.ts";

/** The metadata key that names the namespace of a ttrpc call. */
export const TTRPC_NAMESPACE_KEY = "containerd-namespace-ttrpc";

/**
 * This returns the namespace a ttrpc call is made in.
 * @throws failed_precondition - the caller named none
 * @throws invalid_argument - the name is not a valid identifier
 */
export function ttrpcNamespaceOf(context: HandlerContext): Namespace {
  const namespace = findTtrpcNamespace(context);
  if (namespace === undefined) throw failedPrecondition("namespace is required");
  return namespace;
}

/**
 * This returns the namespace a ttrpc call is made in, `undefined` when the caller named none.
 * @throws invalid_argument - the name is not a valid identifier
 */
export function findTtrpcNamespace(context: HandlerContext): Namespace | undefined {
  // The short way does not build the `Headers` of a call that needs one of them.
  const isOurs = context instanceof CallContext;
  const text =
    (isOurs ? context.findMetadata(TTRPC_NAMESPACE_KEY) : context.requestHeader.get(TTRPC_NAMESPACE_KEY)) ?? "";
  return text === "" ? undefined : parseNamespace(text);
}
