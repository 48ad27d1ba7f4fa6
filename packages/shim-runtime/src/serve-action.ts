import { create } from "@bufbuild/protobuf";
import { EmptySchema } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import { Pool } from "@berth/api/berth/shim/v1/shim";
import { Task as TaskV2 } from "@berth/api/containerd/task/v2/task";
import { Task as TaskV3 } from "@berth/api/containerd/task/v3/task";
import { invalidArgument, messageOf } from "@berth/errors";
import { ChildReaper, getOomScoreAdj, setOomScoreAdj, setSubreaper } from "@berth/linux/process";
import { createTtrpcServer, ttrpcService } from "@berth/ttrpc";

import type { ShimTasks } from "./define-shim.ts";
import { removeExitRecord, writeExitRecord } from "./exit-record.ts";
import { Lifetime } from "./lifetime.ts";
import { LISTENER_FD } from "./launch-shim.ts";
import { Publisher } from "./publisher.ts";
import { ShimLog } from "./shim-log.ts";
import { ownSocketFile } from "./socket-file.ts";
import type { ActionInput } from "./start-action.ts";

const CLOSE_GRACE_MS = 5000;
const MAX_OOM_SCORE = 1000;

/** This serves containers until none is left and none is to come; then its socket is gone and its events are sent. */
export async function serveAction(input: ActionInput): Promise<void> {
  const { definition, flags, environment } = input;
  await using resources = new AsyncDisposableStack();
  const sink = resources.use(new ShimLog({ debug: flags.debug }));
  const log = sink.logger({ namespace: flags.namespace });
  prepareProcess();
  const reaper = resources.use(new ChildReaper({ mode: "all" }));
  const { namespace } = flags;
  const publisher = resources.use(new Publisher({ address: environment.ttrpcAddress, namespace, log }));
  const tasks = resources.use(
    await definition.createTasks({
      namespace,
      reaper,
      log,
      publish: (topic, schema, event) => publisher.publish(topic, schema, event),
      recordExit: writeExitRecord,
      forgetExit: removeExitRecord,
    }),
  );
  const pool = environment.grouping === "pool";
  const { maxContainers, lingerMs } = environment;
  const lifetime = resources.use(new Lifetime({ pool, maxContainers, lingerMs, size: () => tasks.size }));
  lifetime.reserve(flags.id);
  resources.use(handleSignals(lifetime, sink));
  await serve({ input, tasks, lifetime, sink, pool });
}

/** What the services need. */
interface Serving {
  readonly input: ActionInput;
  readonly tasks: ShimTasks;
  readonly lifetime: Lifetime;
  readonly sink: ShimLog;
  readonly pool: boolean;
}

async function serve(serving: Serving): Promise<void> {
  const { flags } = serving.input;
  const log = serving.sink.logger({ namespace: flags.namespace });
  if (flags.socket === "") throw invalidArgument("a serving shim needs -socket");
  const server = createTtrpcServer({ log, services: services(serving) });
  await server.listen(serving.input.environment.inheritsListener ? { fd: LISTENER_FD } : { path: flags.socket });
  const file = ownSocketFile(flags.socket);
  log.info("shim serves", { pid: process.pid, socket: flags.socket });
  try {
    await serving.lifetime.ended;
  } finally {
    // the name first: whoever finds it no more starts another shim
    file.remove();
    await server.close({ graceMs: CLOSE_GRACE_MS });
  }
}

function services(serving: Serving) {
  const task = taskService(serving);
  const { lifetime, pool } = serving;
  const reserve = ({ id }: { readonly id: string }) => ({ accepted: lifetime.reserve(id), pid: process.pid });
  return [
    ttrpcService(TaskV3, task),
    // the messages of both versions have the same fields under another name, and handlers answer plain objects
    ttrpcService(TaskV2, task as unknown as ServiceImpl<typeof TaskV2>),
    ...(pool ? [ttrpcService(Pool, { reserve })] : []),
  ];
}

/** The tasks, with what their coming and going means for the process. */
function taskService({ tasks, lifetime, sink }: Serving): ServiceImpl<typeof TaskV3> {
  const { service } = tasks;
  return {
    ...service,
    create: async (request, context) => {
      lifetime.reserve(request.id);
      sink.attach(request.bundle);
      try {
        return await service.create(request, context);
      } finally {
        lifetime.release(request.id);
      }
    },
    delete: async (request, context) => {
      try {
        return await service.delete(request, context);
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

function prepareProcess(): void {
  setSubreaper(true);
  try {
    setOomScoreAdj("self", Math.min(MAX_OOM_SCORE, getOomScoreAdj() + 1));
  } catch {
    // not permitted here: the shim then is as likely a victim as its daemon
  }
}

/** SIGTERM and SIGINT end it in order, whatever runs; SIGUSR1 shows what it is doing; SIGPIPE, SIGHUP do nothing. */
function handleSignals(lifetime: Lifetime, sink: ShimLog): Disposable {
  const log = sink.logger();
  const handlers = new Map<NodeJS.Signals, () => void>([
    ["SIGTERM", () => lifetime.end()],
    ["SIGINT", () => lifetime.end()],
    ["SIGHUP", () => {}],
    ["SIGPIPE", () => {}],
    ["SIGUSR1", () => log.info("stack dump", { report: process.report.getReport() })],
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
