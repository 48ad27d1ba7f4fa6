import { Task as TaskV2 } from "@berth/api/containerd/task/v2/task";
import { Task as TaskV3 } from "@berth/api/containerd/task/v3/task";
import type { CallOptions } from "@berth/core/any";
import type { Logger } from "@berth/core/log";
import type { Namespace } from "@berth/core/namespaces";
import type { ShimEndpoint } from "@berth/core/shims";
import { isUnavailable, isUnimplemented, unimplemented } from "@berth/errors";
import { createUnixTransport } from "@berth/rpc/client";
import { createTtrpcTransport } from "@berth/ttrpc";
import type { CallOptions as RpcCallOptions, Client, Transport } from "@connectrpc/connect";
import { createClient } from "@connectrpc/connect";

/** The task API; versions 2 and 3 have the same messages. */
export type TaskClient = Client<typeof TaskV3>;

/** Options of one call to a shim. */
export interface ShimCallOptions extends CallOptions {
  /** How long to wait at most; `undefined` for a call that answers when something happens. */
  readonly timeoutMs: number | undefined;
}

/** A connection to a shim process, which several tasks may share; closed when the last of them lets go. */
export class ShimConnection implements AsyncDisposable {
  readonly endpoint: ShimEndpoint;
  readonly transport: Transport;
  /** Resolves when the connection is gone, for whatever reason. */
  readonly closed: Promise<void>;
  readonly #opened: OpenedTransport;
  readonly #listeners = new Set<() => void>();
  #tasks: TaskClient;
  #settled = false;
  #isClosed = false;
  #holders = 1;

  constructor(endpoint: ShimEndpoint, opened: OpenedTransport) {
    this.endpoint = endpoint;
    this.transport = opened.transport;
    this.closed = opened.closed.then(() => {
      this.#isClosed = true;
      for (const listener of this.#listeners) listener();
    });
    this.#opened = opened;
    this.#tasks = endpoint.version >= 3 ? createClient(TaskV3, opened.transport) : oldClient(opened.transport);
  }

  /**
   * This calls `listener` once when the connection is gone, soon if it is. Disposing the result takes the listener back: a connection to a pool
   * outlives its tasks, and would keep what waits for {@link closed}.
   */
  onClosed(listener: () => void): Disposable {
    // Each call has a listener of its own, also of the same function.
    const call = (): void => listener();
    if (this.#isClosed) queueMicrotask(() => this.#listeners.delete(call) && call());
    this.#listeners.add(call);
    return { [Symbol.dispose]: () => void this.#listeners.delete(call) };
  }

  /** Whether no call can succeed any more. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /**
   * This makes a call of the task API. A shim that says version 3 and does not know it is spoken to in version 2 from then on.
   *
   * @throws unavailable - the connection is gone
   */
  async call<T>(call: (tasks: TaskClient, options: RpcCallOptions) => Promise<T>, limits: ShimCallOptions): Promise<T> {
    const options: RpcCallOptions = {
      ...(limits.signal === undefined ? {} : { signal: limits.signal }),
      ...(limits.timeoutMs === undefined ? {} : { timeoutMs: limits.timeoutMs }),
    };
    try {
      const answer = await call(this.#tasks, options);
      this.#settled = true;
      return answer;
    } catch (error) {
      // Who sees a call fail asks next whether the shim is dead.
      if (isUnavailable(error)) await this.#opened.check?.();
      if (this.#settled || this.endpoint.version < 3 || !isUnimplemented(error)) throw error;
    }
    const old = oldClient(this.transport);
    const answer = await call(old, options);
    this.#tasks = old;
    this.#settled = true;
    return answer;
  }

  /** This adds a holder, who disposes it too. */
  share(): this {
    this.#holders++;
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#holders--;
    if (this.#holders > 0) return;
    this.#isClosed = true;
    this.#opened.close();
  }
}

interface OpenedTransport {
  readonly transport: Transport;
  readonly closed: Promise<void>;
  readonly close: () => void;
  /** This finds out whether the peer is still there, for a protocol that connects anew by itself; `closed` is settled if it is not. */
  readonly check?: () => Promise<void>;
}

interface Opening {
  readonly address: string;
  readonly namespace: Namespace;
  readonly connection: Promise<ShimConnection>;
}

/** How {@link ShimConnections.connect} connects. */
export interface ConnectOptions {
  /**
   * Never share: a `start` has just named the address. A shim that is ending serves its connections for a while after another one has
   * taken its socket.
   */
  readonly fresh?: boolean;
}

/** Connections by address: tasks in one shim process share one. Disposing it lets go of those it keeps. */
export class ShimConnections implements AsyncDisposable {
  readonly #log: Logger;
  readonly #open = new Map<string, Opening>();
  readonly #kept = new Set<ShimConnection>();
  #isDisposed = false;

  constructor(log: Logger) {
    this.#log = log;
  }

  /**
   * This connects, or shares the newest connection that there is. The caller disposes it.
   *
   * @throws unavailable - nobody answers
   * @throws unimplemented - the address is no unix socket
   */
  async connect(
    endpoint: ShimEndpoint,
    namespace: Namespace,
    timeoutMs: number,
    { fresh = false }: ConnectOptions = {},
  ): Promise<ShimConnection> {
    const key = JSON.stringify([endpoint.address, endpoint.protocol, endpoint.version, namespace]);
    const present = fresh ? undefined : await this.#open.get(key)?.connection.catch(() => undefined);
    if (present !== undefined && !present.isClosed) return present.share();
    const opening = { address: endpoint.address, namespace, connection: this.#dial(endpoint, namespace, timeoutMs) };
    this.#open.set(key, opening);
    try {
      const connection = await opening.connection;
      void connection.closed.then(() => this.#forget(key, opening));
      return connection;
    } catch (error) {
      this.#forget(key, opening);
      throw error;
    }
  }

  /** This shares a connection that is open; `undefined` when there is none. */
  async find(address: string, namespace: Namespace): Promise<ShimConnection | undefined> {
    for (const opening of this.#open.values()) {
      if (opening.address !== address || opening.namespace !== namespace) continue;
      const connection = await opening.connection.catch(() => undefined);
      if (connection !== undefined && !connection.isClosed) return connection.share();
    }
    return undefined;
  }

  /** This keeps a connection for tasks to come, until it ends. Its shim must be one that ends by itself when it has no task. */
  keep(connection: ShimConnection): void {
    if (this.#isDisposed || this.#kept.has(connection)) return;
    this.#kept.add(connection.share());
    void connection.closed.then(() => this.#kept.delete(connection));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isDisposed = true;
    for (const connection of this.#kept) await connection[Symbol.asyncDispose]();
    this.#kept.clear();
  }

  #forget(key: string, opening: Opening): void {
    if (this.#open.get(key) === opening) this.#open.delete(key);
  }

  async #dial(endpoint: ShimEndpoint, namespace: Namespace, timeoutMs: number): Promise<ShimConnection> {
    const { address, protocol } = endpoint;
    if (/^(?!unix:)[a-z][a-z0-9+.-]*:\/\//.test(address)) {
      throw unimplemented(`shim address ${JSON.stringify(address)}: only unix sockets are supported`);
    }
    // Without a scheme it is the name of an abstract socket, as old shims use them.
    const path = address.startsWith("unix:") || address.startsWith("/") ? address : `@${address.replace(/^@/, "")}`;
    if (protocol === "grpc") return new ShimConnection(endpoint, await openGrpc(path, namespace, timeoutMs));
    const transport = createTtrpcTransport({
      path,
      connectTimeoutMs: timeoutMs,
      metadata: { "containerd-namespace-ttrpc": namespace },
      log: this.#log,
    });
    await transport.connect();
    return new ShimConnection(endpoint, { transport, closed: transport.closed, close: () => transport.close() });
  }
}

/** Death is to be told within a second. */
const REDIAL_MS = 50;

/** A server of gRPC may end a connection and go on: the shim is dead only when nobody answers any more. */
async function openGrpc(address: string, namespace: Namespace, connectTimeoutMs: number): Promise<OpenedTransport> {
  const closed = Promise.withResolvers<void>();
  const path = address.replace(/^unix:\/\//, "").replace(/^@/, "\0");
  let pause: NodeJS.Timeout | undefined;
  // A server that ends each connection is not asked without a pause.
  const onClose = (): void => void (pause ??= setTimeout(() => void check(), REDIAL_MS));
  const transport = createUnixTransport({ path, namespace, connectTimeoutMs, onClose });
  const close = (): void => {
    clearTimeout(pause);
    transport.close();
    closed.resolve();
  };
  const check = async (): Promise<void> => {
    clearTimeout(pause);
    pause = undefined;
    try {
      await transport.connect();
    } catch {
      close();
      await closed.promise;
    }
  };
  try {
    await transport.connect();
  } catch (error) {
    close();
    throw error;
  }
  return { transport, closed: closed.promise, close, check };
}

function oldClient(transport: Transport): TaskClient {
  // The messages of version 2 are those of version 3 field by field (a test compares their descriptors).
  return createClient(TaskV2, transport) as unknown as TaskClient;
}
