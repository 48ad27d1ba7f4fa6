import type { ShimClient } from "@berth/client/shim";
import { connectShim } from "@berth/client/shim";
import { parseNamespace } from "@berth/core/namespaces";
import { invalidArgument } from "@berth/errors";

import { integerFlag, stringFlag } from "../cli/flags.ts";
import type { Session } from "../cli/session.ts";
import { findShimAddress } from "../process/shim-address.ts";

/** Flags of everything that talks to a shim. */
export const SHIM_FLAGS = {
  id: stringFlag("id of the task or sandbox whose shim is meant"),
  "shim-address": stringFlag("where the shim listens (default: what the daemon noted of the id)"),
};
export const versionFlag = integerFlag("version of the task API, 2 or 3", { initial: 3 });

/** This connects to the shim that the flags mean. @throws invalid_argument - they name none */
export async function connect(
  session: Session,
  flags: { readonly id: string; readonly "shim-address": string; readonly "api-version"?: number },
): Promise<ShimClient> {
  if (flags.id === "") throw invalidArgument("--id must be given: the id of a task or sandbox");
  const address = flags["shim-address"] || (await findShimAddress(session, flags.id));
  return await connectShim({
    address,
    namespace: parseNamespace(session.namespace),
    version: flags["api-version"] ?? 3,
  });
}
