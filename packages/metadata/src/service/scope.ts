import type { HandlerContext } from "@connectrpc/connect";
import type { NamespacedStores } from "@berth/core/metadata";

/** Gives the stores that a call works on: of its namespace, with its lease. */
export type StoresOf = (context: HandlerContext) => NamespacedStores;
