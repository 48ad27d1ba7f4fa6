import type { Socket } from "node:net";

import { createClient } from "@connectrpc/connect";
import { Pool } from "@berth/api/berth/shim/v1/shim";
import { createTtrpcTransport } from "@berth/ttrpc";

const TIMEOUT_MS = 10_000;

/** This asks a shim to keep a place for a container; `undefined` when the shim ended meanwhile. */
export async function askPool(
  socket: Socket,
  request: { readonly id: string; readonly bundle: string },
): Promise<boolean | undefined> {
  await using transport = createTtrpcTransport({ socket });
  try {
    const { accepted } = await createClient(Pool, transport).reserve(request, { timeoutMs: TIMEOUT_MS });
    return accepted;
  } catch {
    // whatever the reason, this shim takes nothing more
    return undefined;
  }
}
