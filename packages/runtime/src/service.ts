import { Tasks } from "@berth/api/containerd/services/tasks/v1/tasks";
import { fromProtoLabels } from "@berth/core/labels";
import type { Logger } from "@berth/core/log";
import { silentLogger } from "@berth/core/log";
import type { ExitStatus, Task } from "@berth/core/runtime";
import { toProtoTimestampNs, toProtoTimestampOrZeroNs } from "@berth/core/timestamp";
import { invalidArgument } from "@berth/errors";
import { namespaceOf } from "@berth/rpc";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";

import { checkpointTask } from "./service/checkpoint-task.ts";
import { createTask } from "./service/create-task.ts";
import { collectMetrics } from "./service/metrics.ts";
import { DEFAULT_RUNTIME_TIMEOUTS } from "./runtime-timeouts.ts";
import { processOf, withTimeout } from "./service/process.ts";
import { Restores } from "./service/restores.ts";
import type { TasksServiceOptions } from "./service/tasks-service-options.ts";

export type { TasksServiceOptions } from "./service/tasks-service-options.ts";
export { Tasks };

type Handlers<K extends keyof ServiceImpl<typeof Tasks>> = Pick<ServiceImpl<typeof Tasks>, K>;
type TaskOf = (request: { readonly containerId: string }, context: HandlerContext) => Task;

/** This serves `containerd.services.tasks.v1.Tasks` over any runtime; specs and snapshots come from the container records. */
export function createTasksService(options: TasksServiceOptions): ServiceImpl<typeof Tasks> {
  const taskOf: TaskOf = (request, context) => options.runtime.get(namespaceOf(context), request.containerId);
  return {
    ...lifeHandlers({ ...options, restores: new Restores() }, taskOf),
    ...queryHandlers(options, taskOf),
    ...controlHandlers(options, taskOf),
  };
}

function lifeHandlers(
  options: TasksServiceOptions & { readonly restores: Restores },
  taskOf: TaskOf,
): Handlers<"create" | "start" | "exec" | "delete" | "deleteProcess"> {
  const { runtime, metadata, restores } = options;
  return {
    create: (request, context) => createTask(options, request, context),
    async start(request, context) {
      const { containerId, execId } = request;
      const pid = await taskOf(request, context).start({ execId, signal: context.signal });
      if (execId === "") await restores.release(namespaceOf(context), containerId);
      return { pid };
    },
    async exec(request, context) {
      const { execId, spec, stdin, stdout, stderr, terminal } = request;
      if (execId === "") throw invalidArgument("exec id must not be empty");
      if (spec === undefined) throw invalidArgument(`exec ${execId}: process spec is required`);
      const io = { stdin, stdout, stderr, terminal };
      await taskOf(request, context).exec(execId, { spec, io, signal: context.signal });
      return {};
    },
    async delete({ containerId }, context) {
      const namespace = namespaceOf(context);
      await metadata.namespace(namespace).containers.get(containerId, context);
      const exit = await runtime.delete(namespace, containerId, context);
      await restores.release(namespace, containerId);
      return toDeleteResponse(containerId, exit);
    },
    async deleteProcess(request, context) {
      if (request.execId === "") throw invalidArgument("exec id must not be empty");
      const exit = await taskOf(request, context).deleteProcess(request.execId, context);
      return toDeleteResponse(request.execId, exit);
    },
  };
}

function queryHandlers(
  { runtime, log = silentLogger, timeouts = DEFAULT_RUNTIME_TIMEOUTS }: TasksServiceOptions,
  taskOf: TaskOf,
): Handlers<"get" | "list" | "listPids" | "metrics" | "wait"> {
  return {
    async get(request, context) {
      const task = taskOf(request, context);
      return { process: await processOf(task, request.execId, withTimeout(context, timeouts.stateMs)) };
    },
    async list(_request, context) {
      const limits = withTimeout(context, timeouts.stateMs);
      const tasks = runtime.list(namespaceOf(context));
      const processes = await Promise.all(tasks.map((task) => processOf(task, "", limits).catch(ignore(log, task))));
      return { tasks: processes.filter((process) => process !== undefined) };
    },
    async listPids(request, context) {
      return { processes: [...(await taskOf(request, context).pids(context))] };
    },
    metrics: (request, context) =>
      collectMetrics(runtime.list(namespaceOf(context)), request.filters, context, { log, statsMs: timeouts.statsMs }),
    async wait(request, context) {
      const exit = await taskOf(request, context).wait({ execId: request.execId, signal: context.signal });
      return { exitStatus: exit.exitStatus, exitedAt: toProtoTimestampNs(exit.exitedAtNs) };
    },
  };
}

function controlHandlers(
  options: TasksServiceOptions,
  taskOf: TaskOf,
): Handlers<"kill" | "resizePty" | "closeIO" | "pause" | "resume" | "checkpoint" | "update"> {
  return {
    async kill(request, context) {
      const { execId, signal: signalNumber, all } = request;
      await taskOf(request, context).kill({ execId, signalNumber, all, signal: context.signal });
      return {};
    },
    async resizePty(request, context) {
      const { execId, width, height } = request;
      await taskOf(request, context).resizePty({ execId, width, height, signal: context.signal });
      return {};
    },
    async closeIO(request, context) {
      const task = taskOf(request, context);
      if (request.stdin) await task.closeIo({ execId: request.execId, signal: context.signal });
      return {};
    },
    async pause(request, context) {
      await taskOf(request, context).pause(context);
      return {};
    },
    async resume(request, context) {
      await taskOf(request, context).resume(context);
      return {};
    },
    checkpoint: (request, context) => checkpointTask(options, request, context),
    async update(request, context) {
      const { resources, annotations } = request;
      if (resources === undefined) throw invalidArgument("resources are required");
      const { signal } = context;
      await taskOf(request, context).update(resources, { annotations: fromProtoLabels(annotations), signal });
      return {};
    },
  };
}

function toDeleteResponse(id: string, { pid, exitStatus, exitedAtNs }: ExitStatus) {
  return { id, pid, exitStatus, exitedAt: toProtoTimestampOrZeroNs(exitedAtNs) };
}

/** A task that does not answer is left out of lists, so that it does not hide the others. */
function ignore(log: Logger, task: Task): (error: unknown) => undefined {
  return (error) => {
    log.warn("get state of task failed", { id: task.id, namespace: task.namespace, error });
  };
}
