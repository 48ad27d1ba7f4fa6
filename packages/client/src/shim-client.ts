import { Task as TaskV2 } from "@berth/api/containerd/task/v2/task";
import { Task as TaskV3 } from "@berth/api/containerd/task/v3/task";
import type { Namespace } from "@berth/core/namespaces";
import { unimplemented } from "@berth/errors";
import { createTtrpcTransport } from "@berth/ttrpc";
import type { Client } from "@connectrpc/connect";
import { createClient } from "@connectrpc/connect";

/** The task API of a shim; versions 2 and 3 have the same messages. */
export type ShimTasks = Client<typeof TaskV3>;

/** A connection to a shim itself, past its daemon. Disposing it closes the connection. */
export interface ShimClient extends Disposable {
  readonly tasks: ShimTasks;
}

/** Where a shim listens, and how it is spoken to. */
export interface ShimClientOptions {
  /** `unix:///path`, or the name of an abstract socket. */
  readonly address: string;
  readonly namespace: Namespace;
  /** Version of the task API, 2 or 3. */
  readonly version: number;
  readonly connectTimeoutMs?: number;
}

const CONNECT_TIMEOUT_MS = 5000;

/**
 * This connects to a shim over ttrpc. It is for looking into what went wrong: the daemon does not learn of what is done here.
 *
 * @throws unavailable - nobody listens there
 * @throws unimplemented - the version is neither 2 nor 3
 */
export async function connectShim(options: ShimClientOptions): Promise<ShimClient> {
  const { address, namespace, version, connectTimeoutMs = CONNECT_TIMEOUT_MS } = options;
  if (version !== 2 && version !== 3) throw unimplemented(`version ${version} of the task api: there are 2 and 3`);
  const path = address.startsWith("unix:") || address.startsWith("/") ? address : `@${address.replace(/^@/, "")}`;
  const metadata = { "containerd-namespace-ttrpc": namespace };
  const transport = createTtrpcTransport({ path, connectTimeoutMs, metadata });
  await transport.connect();
  // The messages of version 2 are those of version 3 field by field.
  const tasks =
    version === 3 ? createClient(TaskV3, transport) : (createClient(TaskV2, transport) as unknown as ShimTasks);
  return { tasks, [Symbol.dispose]: () => transport.close() };
}
