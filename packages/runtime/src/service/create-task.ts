import type { CreateTaskRequest } from "@berth/api/containerd/services/tasks/v1/tasks";
import { unimplemented } from "@berth/errors";
import { namespaceOf } from "@berth/rpc";
import type { HandlerContext } from "@connectrpc/connect";

import { containerTaskOptions, decodeRuncOptions, taskApi } from "../container-task-options.ts";
import { fromProtoMount } from "../task-messages.ts";
import type { TasksServiceOptions } from "./tasks-service-options.ts";

/** Annotation of a checkpoint descriptor: the checkpoint is this directory, not a blob. */
const RESTORE_FROM_PATH = "RestoreFromPath";

/** This makes the task of a container record. @throws not_found, already_exists, invalid_argument */
export async function createTask(
  { runtime, metadata, deprecations }: TasksServiceOptions,
  request: CreateTaskRequest,
  context: HandlerContext,
): Promise<{ containerId: string; pid: number }> {
  const namespace = namespaceOf(context);
  const { containerId, stdin, stdout, stderr, terminal, options, runtimePath, taskApiAddress, taskApiVersion } =
    request;
  const { signal } = context;
  const stores = metadata.namespace(namespace);
  const found = await stores.containers.get(containerId, { signal });
  // Clients send the mounts; one that sends none gets those of the container's snapshot.
  const container = request.rootfs.length === 0 ? found : { ...found, snapshotKey: "" };
  const record = await containerTaskOptions(container, stores, { signal });
  const inOptions = taskApi(decodeRuncOptions(options));
  if (record.taskApiAddress !== undefined || inOptions.taskApiAddress !== undefined) warnOfTaskApi(deprecations);
  const task = await runtime.create(namespace, containerId, {
    ...record,
    io: { stdin, stdout, stderr, terminal },
    checkpoint: checkpointPath(request),
    ...(request.rootfs.length === 0 ? {} : { rootfs: request.rootfs.map(fromProtoMount) }),
    ...(runtimePath === "" ? {} : { runtimePath }),
    ...(options === undefined ? {} : { taskOptions: options }),
    ...inOptions,
    ...(taskApiAddress === "" ? {} : { taskApiAddress, taskApiVersion }),
  });
  return { containerId, pid: (await task.state({ signal })).pid };
}

/** @see containerd pkg/deprecation */
function warnOfTaskApi(deprecations: TasksServiceOptions["deprecations"]): void {
  for (const field of ["address", "version"]) {
    const what = `The task_api_${field} option of runc is deprecated since containerd v2.3`;
    deprecations?.emit(
      `io.containerd.deprecation/runc-options-task-api-${field}`,
      `${what}. Use the task_api_${field} field of the request that makes the task.`,
    );
  }
}

function checkpointPath({ checkpoint }: CreateTaskRequest): string {
  if (checkpoint === undefined) return "";
  const path = checkpoint.annotations[RESTORE_FROM_PATH];
  if (path !== undefined && path !== "") return path;
  throw unimplemented(
    `restore from checkpoint blob ${checkpoint.digest}: only a directory (annotation ${RESTORE_FROM_PATH}) is supported`,
  );
}
