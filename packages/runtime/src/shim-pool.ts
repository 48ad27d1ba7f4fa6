import { Pool } from "@berth/api/berth/shim/v1/shim";
import { OptionsSchema } from "@berth/api/containerd/runc/v1/options";
import type { AnyValue, CallOptions } from "@berth/core/any";
import { DEFAULT_SHIM_SOCKET_DIR, poolGroup, shimSocketPath } from "@berth/core/shim-names";
import { fromBinary } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";

import type { Bundle } from "./bundle.ts";
import type { ShimConnection, ShimConnections } from "./shim-connection.ts";

const MAX_POOLS = 1024;
const TIMEOUT_MS = 2000;

/** What is needed of a shim manager to find its pools. */
export interface PoolAccess {
  readonly options: { readonly poolSocketDir?: string; readonly grpcAddress: string };
  readonly connections: Pick<ShimConnections, "connect">;
}

/**
 * This asks the running pools of a namespace for a place, in order, and returns the connection to the one that took the
 * bundle; `undefined` when none did, and a `start` has to find or make the next.
 *
 * @throws invalid_argument - the path of the pools' sockets is too long
 */
export async function joinPool(
  manager: PoolAccess,
  bundle: Bundle,
  { options, signal }: CallOptions & { readonly options: AnyValue | undefined },
): Promise<ShimConnection | undefined> {
  const { poolSocketDir = DEFAULT_SHIM_SOCKET_DIR, grpcAddress } = manager.options;
  const { namespace } = bundle;
  for (let index = 0; index < MAX_POOLS; index++) {
    const group = poolGroup(index, shimCgroup(options));
    const path = shimSocketPath(poolSocketDir, { grpcAddress, namespace, group });
    await using undo = new AsyncDisposableStack();
    const connection = await connectPool(manager, path, bundle);
    if (connection === undefined) return undefined;
    undo.use(connection);
    if (!(await reserve(connection, bundle, signal))) continue;
    undo.move();
    return connection;
  }
  return undefined;
}

async function connectPool(
  manager: PoolAccess,
  path: string,
  { namespace }: Bundle,
): Promise<ShimConnection | undefined> {
  const endpoint = { version: 3, address: `unix://${path}`, protocol: "ttrpc" } as const;
  try {
    return await manager.connections.connect(endpoint, namespace, TIMEOUT_MS);
  } catch {
    // There is no such pool, or only the socket of a dead shim: `start` takes that away and makes a new one.
    return undefined;
  }
}

async function reserve(connection: ShimConnection, bundle: Bundle, signal: AbortSignal | undefined): Promise<boolean> {
  const pool = createClient(Pool, connection.transport);
  const options = signal === undefined ? { timeoutMs: TIMEOUT_MS } : { timeoutMs: TIMEOUT_MS, signal };
  try {
    return (await pool.reserve({ id: bundle.id, bundle: bundle.path }, options)).accepted;
  } catch {
    signal?.throwIfAborted();
    // It is about to end, or no pool: another one will do.
    return false;
  }
}

/** This reads the cgroup that the options of a runtime put its shims into; empty where they name none. */
export function shimCgroup(options: AnyValue | undefined): string {
  if (options === undefined || !options.typeUrl.endsWith(OptionsSchema.typeName)) return "";
  try {
    return fromBinary(OptionsSchema, options.value).shimCgroup;
  } catch {
    return "";
  }
}
