import { create } from "@bufbuild/protobuf";
import { EmptySchema } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import { Pool } from "@berth/api/berth/shim/v1/shim";
import { Task as TaskV2 } from "@berth/api/containerd/task/v2/task";
import { Task as TaskV3 } from "@berth/api/containerd/task/v3/task";
import { Sandbox } from "@berth/api/containerd/runtime/sandbox/v1/sandbox";
import { type Logger, silentLogger } from "@berth/core/log";
import { invalidArgument, messageOf } from "@berth/errors";
import { returnMemoryAtRest } from "@berth/linux/memory";
import { ChildReaper, getOomScoreAdj, setOomScoreAdj, setSubreaper } from "@berth/linux/process";
import type { ServiceRegistration } from "@berth/plugin-core";
import { createTtrpcServer, serverClosing, ttrpcService, type TtrpcService } from "@berth/ttrpc";

import type { ShimContext, ShimTasks } from "./define-shim.ts";
import { removeExitRecord, writeExitRecord } from "./exit-record.ts";
import { Lifetime } from "./lifetime.ts";
import { LISTENER_FD } from "./launch-shim.ts";
import { Publisher } from "./publisher.ts";
import { ShimLog } from "./shim-log.ts";
import { ownSocketFile } from "./socket-file.ts";
import type { ActionInput } from "./start-action.ts";

const CLOSE_GRACE_MS = 5000;
const MAX_OOM_SCORE = 1000;
const MIN_SWEEP_MS = 100;

/** Parts of the frame that an author may switch off. */
export interface ShimParts {
  readonly subreaper: boolean;
  readonly reaper: boolean;
  readonly logger: boolean;
}

/** This serves containers until none is left and none is to come; then its socket is gone and its events are sent. */
export async function serveAction(input: ActionInput, parts: ShimParts): Promise<void> {
  const { definition, flags, environment } = input;
  await using resources = new AsyncDisposableStack();
  const sink = resources.use(new ShimLog({ debug: flags.debug }));
  const { namespace } = flags;
  const log = parts.logger ? sink.logger({ namespace }) : silentLogger;
  prepareProcess(parts);
  resources.use(returnMemoryAtRest());
  const reaper = resources.use(new ChildReaper({ mode: parts.reaper ? "all" : "registered" }));
  const publisher = resources.use(new Publisher({ address: environment.ttrpcAddress, namespace, log }));
  const context: ShimContext = {
    namespace,
    reaper,
    log,
    publish: (topic, schema, event) => publisher.publish(topic, schema, event),
    recordExit: writeExitRecord,
    forgetExit: removeExitRecord,
  };
  const tasks = resources.use(await definition.createTasks(context));
  const pool = environment.grouping === "pool";
  const { maxContainers, lingerMs } = environment;
  const isCounted = tasks.isCounted?.bind(tasks);
  const lifetime = resources.use(new Lifetime({ pool, maxContainers, lingerMs, size: () => tasks.size, isCounted }));
  lifetime.reserve(flags.id);
  resources.use(handleSignals(lifetime, log));
  resources.use(sweep(tasks, lifetime, { everyMs: lingerMs, log }));
  const attachLog = (id: string, bundle: string): void => {
    if (parts.logger) sink.attach(id, bundle);
  };
  const releaseLog = (id: string): void => sink.release(id);
  const serving = { input, context, tasks, lifetime, pool, attachLog, releaseLog };
  await serve(serving, await withPlugins(serving, services(serving), resources));
}

/** This drops what nobody will ask this process to delete, for as long as there is anything. */
function sweep(
  tasks: ShimTasks,
  lifetime: Lifetime,
  { everyMs, log }: { readonly everyMs: number; readonly log: Logger },
): Disposable {
  const drop = async (): Promise<void> => {
    const before = tasks.size;
    await tasks.dropForsaken?.();
    if (tasks.size < before) lifetime.changed();
  };
  const once = (): void => void drop().catch((error: unknown) => log.warn("sweep", { error: messageOf(error) }));
  const timer = setInterval(once, Math.max(MIN_SWEEP_MS, everyMs)).unref();
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

/** What the services need. */
interface Serving {
  readonly input: ActionInput;
  readonly context: ShimContext;
  readonly tasks: ShimTasks;
  readonly lifetime: Lifetime;
  readonly pool: boolean;
  readonly attachLog: (id: string, bundle: string) => void;
  readonly releaseLog: (id: string) => void;
}

async function serve({ input, lifetime, context }: Serving, served: readonly TtrpcService[]): Promise<void> {
  const { flags, environment } = input;
  const { log } = context;
  if (flags.socket === "") throw invalidArgument("a serving shim needs -socket");
  const server = createTtrpcServer({ log, services: served });
  await server.listen(environment.inheritsListener ? { fd: LISTENER_FD } : { path: flags.socket });
  const file = await ownSocketFile(flags.socket);
  log.info("shim serves", { pid: process.pid, socket: flags.socket });
  try {
    await lifetime.ended;
  } finally {
    // the name first: whoever finds it no more starts another shim
    file.remove();
    await server.close({ graceMs: CLOSE_GRACE_MS });
  }
}

/** This boots the author's plugins, if there are any: the graph is not even loaded otherwise. */
async function withPlugins(
  { input, context, lifetime }: Serving,
  own: readonly TtrpcService[],
  resources: AsyncDisposableStack,
): Promise<readonly TtrpcService[]> {
  const { definition, flags, environment } = input;
  const plugins = await definition.plugins?.();
  if (!plugins) return own;
  const { bootShimPlugins, servicesOf } = await import("./boot-shim-plugins.ts");
  const fatal = (error: Error): void => {
    context.log.error("shim plugin gave up", { error: messageOf(error) });
    lifetime.end();
  };
  const { grpcAddress, ttrpcAddress } = environment;
  const bundle = flags.bundle || process.cwd();
  const graph = resources.use(
    // the author's tasks are made already: what they are given is what its plugins are given
    await bootShimPlugins({ context, services: own, plugins, bundle, grpcAddress, ttrpcAddress, fatal }),
  );
  return servicesOf(graph);
}

function services(serving: Serving): readonly ServiceRegistration[] {
  const { lifetime, pool, tasks } = serving;
  const task = taskService(serving);
  // what is no pool is never full, and ends when it is told to, whoever else was sent to it
  const take = (id: string): boolean => (pool ? lifetime.reserve(id) : !lifetime.isEnding);
  const reserve = ({ id }: { readonly id: string }) => ({ accepted: take(id), pid: process.pid });
  return [
    ttrpcService(TaskV3, task),
    // the messages of both versions have the same fields under another name, and handlers answer plain objects
    ttrpcService(TaskV2, task as unknown as ServiceImpl<typeof TaskV2>),
    ...(tasks.sandbox ? [ttrpcService(Sandbox, sandboxService(serving, tasks.sandbox))] : []),
    ...(tasks.services ?? []),
    ttrpcService(Pool, { reserve }),
  ];
}

/**
 * This keeps the process for what is being created; who asks for no place first is not counted out.
 *
 * @throws unavailable - the process ends: what it made now would end with it
 */
function admit(lifetime: Lifetime, id: string): void {
  if (lifetime.isEnding) throw serverClosing(`create ${id}: the shim is ending`);
  lifetime.reserve(id);
}

/** The sandboxes, with what their coming and going means for the process. */
function sandboxService(
  { lifetime, attachLog, releaseLog }: Serving,
  service: ServiceImpl<typeof Sandbox>,
): typeof service {
  return {
    ...service,
    createSandbox: async (request, context) => {
      admit(lifetime, request.sandboxId);
      attachLog(request.sandboxId, request.bundlePath);
      try {
        return await service.createSandbox(request, context);
      } catch (error) {
        releaseLog(request.sandboxId);
        throw error;
      } finally {
        lifetime.release(request.sandboxId);
      }
    },
    shutdownSandbox: async (request, context) => {
      const answer = await service.shutdownSandbox(request, context);
      releaseLog(request.sandboxId);
      lifetime.changed();
      lifetime.requestShutdown();
      return answer;
    },
  };
}

/** The tasks, with what their coming and going means for the process. */
function taskService({ tasks, lifetime, attachLog, releaseLog }: Serving): ServiceImpl<typeof TaskV3> {
  const { service } = tasks;
  return {
    ...service,
    create: async (request, context) => {
      admit(lifetime, request.id);
      attachLog(request.id, request.bundle);
      try {
        return await service.create(request, context);
      } catch (error) {
        releaseLog(request.id);
        throw error;
      } finally {
        lifetime.release(request.id);
      }
    },
    delete: async (request, context) => {
      try {
        const answer = await service.delete(request, context);
        if (request.execId === "") releaseLog(request.id);
        return answer;
      } finally {
        lifetime.changed();
      }
    },
    shutdown: () => {
      lifetime.requestShutdown();
      return create(EmptySchema);
    },
  };
}

function prepareProcess({ subreaper }: ShimParts): void {
  if (subreaper) setSubreaper(true);
  try {
    setOomScoreAdj("self", Math.min(MAX_OOM_SCORE, getOomScoreAdj() + 1));
  } catch {
    // not permitted here: the shim then is as likely a victim as its daemon
  }
}

/** Short enough for a log that is a pipe: what it is doing, what it waits for, how much memory it has. */
function describeProcess() {
  // what the report is made of is not typed
  const { javascriptStack } = process.report.getReport() as { readonly javascriptStack?: { readonly stack?: unknown } };
  const resources = Object.entries(Object.groupBy(process.getActiveResourcesInfo(), (name) => name));
  const waiting = Object.fromEntries(resources.map(([name, all]) => [name, all?.length ?? 0]));
  return { stack: javascriptStack?.stack, waiting, memory: process.memoryUsage() };
}

/** SIGTERM and SIGINT end it in order, whatever runs; SIGUSR1 shows what it is doing; SIGPIPE, SIGHUP do nothing. */
function handleSignals(lifetime: Lifetime, log: Logger): Disposable {
  const handlers = new Map<NodeJS.Signals, () => void>([
    ["SIGTERM", () => lifetime.end()],
    ["SIGINT", () => lifetime.end()],
    ["SIGHUP", () => {}],
    ["SIGPIPE", () => {}],
    ["SIGUSR1", () => log.info("stack dump", describeProcess())],
  ]);
  for (const [signal, handler] of handlers) process.on(signal, handler);
  const onFault = (error: unknown): void =>
    log.error("unhandled fault", { error: messageOf(error), stack: error instanceof Error ? error.stack : "" });
  // one container's fault must not take the others with it
  process.on("uncaughtException", onFault).on("unhandledRejection", onFault);
  return {
    [Symbol.dispose]: () => {
      for (const [signal, handler] of handlers) process.off(signal, handler);
      process.off("uncaughtException", onFault).off("unhandledRejection", onFault);
    },
  };
}
