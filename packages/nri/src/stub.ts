import { connect, Socket } from "node:net";
import type { Duplex } from "node:stream";

import type { ContainerUpdate, ContainerUpdateSchema } from "@berth/api/nri/pkg/api/v1alpha1/adjustment";
import type { Container, PodSandbox } from "@berth/api/nri/pkg/api/v1alpha1/objects";
import type { ContainerEvictionSchema } from "@berth/api/nri/pkg/api/v1alpha1/adjustment";
import type { ConfigureRequest, SynchronizeRequest } from "@berth/api/nri/pkg/api/v1alpha1/plugin";
import { Plugin, Runtime } from "@berth/api/nri/pkg/api/v1alpha1/plugin";
import type { NriEvent } from "@berth/core/nri";
import { invalidArgument, unavailable, wrapError } from "@berth/errors";
import { createTtrpcServer, createTtrpcTransport, ttrpcService } from "@berth/ttrpc";
import type { MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import { createClient } from "@connectrpc/connect";

import { formatEventMask, NRI_EVENTS } from "./plugin-events.ts";
import { MuxConnection, Multiplexer } from "./wire/multiplexer.ts";

type Calls = (typeof Plugin)["method"];
type Awaitable<T> = T | Promise<T>;
type UpdateInit = MessageInitShape<typeof ContainerUpdateSchema>;

/** Where the plugin is told of events; it is told of those that have a handler. A handler that throws fails what it was told of. */
export type NriEventHandlers = {
  readonly [E in NriEvent]?: (
    request: MessageShape<Calls[E]["input"]>,
    // An answer that says nothing may be left out.
  ) => Awaitable<MessageInitShape<Calls[E]["output"]> | undefined | void>;
};

/** A plugin of NRI. */
export interface NriPluginHandlers extends NriEventHandlers {
  /** What the runtime has for the plugin: its configuration, and whose plugin it is. */
  readonly configure?: (request: ConfigureRequest) => Awaitable<void>;
  /** All that runs when the plugin comes; it may ask for changes. */
  readonly synchronize?: (
    pods: readonly PodSandbox[],
    containers: readonly Container[],
  ) => Awaitable<readonly UpdateInit[] | undefined | void>;
  /** The runtime stops. */
  readonly shutdown?: () => Awaitable<void>;
}

/** Who the plugin is, where the environment does not say so. */
export interface NriPluginOptions {
  readonly name?: string | undefined;
  /** Two digits. */
  readonly index?: string | undefined;
  /** Of the runtime; `/var/run/nri/nri.sock` if not given. */
  readonly socketPath?: string | undefined;
  /** A connection that is there already, in place of a path. */
  readonly socket?: Duplex | undefined;
  /** How long the runtime may take to configure the plugin; 5 s if not given. */
  readonly registrationTimeoutMs?: number | undefined;
}

/** A plugin at work. Disposing it ends its connection. */
export interface RunningNriPlugin extends AsyncDisposable {
  /** Resolves when the runtime has gone, or the plugin was disposed. */
  readonly closed: Promise<void>;
  /** This asks for changes of containers and returns those that were not possible. @throws unavailable - the runtime has gone */
  updateContainers(
    update: readonly UpdateInit[],
    evict?: readonly MessageInitShape<typeof ContainerEvictionSchema>[],
  ): Promise<readonly ContainerUpdate[]>;
}

/**
 * This runs a plugin: started by the runtime, which says who it is in the environment, or by anybody, with a name and an index. It resolves
 * when the runtime has configured it.
 *
 * @throws invalid_argument - name or index are missing, or wrong
 * @throws unavailable - there is no runtime, or it ended the connection
 * @throws deadline_exceeded - the runtime did not take the registration
 */
export async function runNriPlugin(
  handlers: NriPluginHandlers,
  options: NriPluginOptions = {},
): Promise<RunningNriPlugin> {
  const { env } = process;
  const pluginName = options.name ?? env["NRI_PLUGIN_NAME"];
  const pluginIdx = options.index ?? env["NRI_PLUGIN_IDX"];
  if (!pluginName || !pluginIdx) throw invalidArgument("an NRI plugin needs a name and an index");
  const multiplexer = new Multiplexer(options.socket ?? (await openSocket(options)));
  await using stack = new AsyncDisposableStack();
  stack.defer(() => multiplexer.close());
  const configured = Promise.withResolvers<void>();
  const services = [ttrpcService(Plugin, createPluginService(handlers, configured.resolve))];
  const server = stack.use(createTtrpcServer({ services }));
  void server.serve(multiplexer.open(MuxConnection.plugin));
  const transport = stack.use(createTtrpcTransport({ socket: multiplexer.open(MuxConnection.runtime) }));
  const runtime = createClient(Runtime, transport);
  const closed = multiplexer.closed.then(() => undefined);
  await runtime.registerPlugin({ pluginName, pluginIdx }, { timeoutMs: options.registrationTimeoutMs ?? 5000 });
  const gone = closed.then(() => {
    throw unavailable("the runtime has ended the connection");
  });
  await Promise.race([configured.promise, gone]);
  gone.catch(() => undefined);
  const owned = stack.move();
  return {
    closed,
    updateContainers: async (update, evict = []) =>
      (await runtime.updateContainers({ update: [...update], evict: [...evict] })).failed,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function openSocket({ socketPath = "/var/run/nri/nri.sock" }: NriPluginOptions): Promise<Duplex> {
  const inherited = process.env["NRI_PLUGIN_SOCKET"];
  if (inherited !== undefined) return new Socket({ fd: Number(inherited) });
  const socket = connect({ path: socketPath });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  socket.once("connect", resolve);
  socket.once("error", reject);
  try {
    await promise;
  } catch (error) {
    throw wrapError(error, `connect to NRI at ${socketPath}`);
  }
  socket.off("error", reject);
  return socket;
}

function createPluginService(
  handlers: NriPluginHandlers,
  onConfigured: () => void,
): Partial<ServiceImpl<typeof Plugin>> {
  const handled = NRI_EVENTS.filter((event) => handlers[event] !== undefined);
  const calls = handled.map((event) => {
    // The handler of an event takes its request; TypeScript does not see that both belong to the same event.
    const handler = handlers[event] as (request: unknown) => Awaitable<object | undefined>;
    return [event, async (request: unknown) => (await handler(request)) ?? {}];
  });
  return {
    ...Object.fromEntries(calls),
    configure: async (request) => {
      await handlers.configure?.(request);
      // The answer is under way before whoever waits for it goes on.
      setImmediate(onConfigured);
      return { events: formatEventMask(handled) };
    },
    synchronize: collectParts(handlers),
    shutdown: async () => {
      await handlers.shutdown?.();
      return {};
    },
  };
}

/** What is too large for one message comes in several; only the last one is answered with what is to be changed. */
function collectParts({ synchronize }: NriPluginHandlers): ServiceImpl<typeof Plugin>["synchronize"] {
  let pods: PodSandbox[] = [];
  let containers: Container[] = [];
  return async (request: SynchronizeRequest) => {
    pods.push(...request.pods);
    containers.push(...request.containers);
    if (request.more) return { more: true };
    const all = [pods, containers] as const;
    [pods, containers] = [[], []];
    return { update: [...((await synchronize?.(...all)) ?? [])] };
  };
}
