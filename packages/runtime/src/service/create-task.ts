import type { CreateTaskRequest } from "@berth/api/containerd/services/tasks/v1/tasks";
import type { CallOptions } from "@berth/core/any";
import type { NamespacedStores } from "@berth/core/metadata";
import { fromProtoMount } from "@berth/core/mount";
import { unimplemented } from "@berth/errors";
import { namespaceOf } from "@berth/rpc";
import type { HandlerContext } from "@connectrpc/connect";

import { containerTaskOptions, decodeRuncOptions, taskApi } from "../container-task-options.ts";
import { type CheckpointDirectory, CheckpointMediaType } from "./checkpoint-files.ts";
import type { Restores } from "./restores.ts";
import type { TasksServiceOptions } from "./tasks-service-options.ts";

/** Annotation of a checkpoint descriptor: the checkpoint is this directory, not a blob. */
const RESTORE_FROM_PATH = "RestoreFromPath";

/** This makes the task of a container record. @throws not_found, already_exists, invalid_argument */
export async function createTask(
  { runtime, metadata, deprecations, restores }: TasksServiceOptions & { readonly restores: Restores },
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
  const runcOptions = decodeRuncOptions(options);
  const inOptions = taskApi(runcOptions);
  if (record.taskApiAddress !== undefined || inOptions.taskApiAddress !== undefined) warnOfTaskApi(deprecations);
  await using undo = new AsyncDisposableStack();
  const directory = request.checkpoint?.annotations[RESTORE_FROM_PATH] || runcOptions?.criuImagePath;
  const checkpoint = directory
    ? { path: directory, unpacked: undefined }
    : await unpackBlob(restores, stores, request, { signal });
  if (checkpoint.unpacked !== undefined) undo.use(checkpoint.unpacked);
  const task = await runtime.create(namespace, containerId, {
    ...record,
    io: { stdin, stdout, stderr, terminal },
    checkpoint: checkpoint.path,
    ...(request.rootfs.length === 0 ? {} : { rootfs: request.rootfs.map(fromProtoMount) }),
    ...(runtimePath === "" ? {} : { runtimePath }),
    ...(options === undefined ? {} : { taskOptions: options }),
    ...inOptions,
    ...(taskApiAddress === "" ? {} : { taskApiAddress, taskApiVersion }),
    signal,
  });
  // One who gives up does not learn that there is a task: there is to be none.
  undo.defer(async () => void (await runtime.delete(namespace, containerId).catch(() => {})));
  const { pid } = await task.state({ signal });
  signal.throwIfAborted();
  if (checkpoint.unpacked !== undefined) await restores.keep(task, checkpoint.unpacked);
  undo.move();
  return { containerId, pid };
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

/** The directory with the checkpoint that a task begins from, out of the blob that the request names; none where it names none. */
async function unpackBlob(
  restores: Restores,
  stores: NamespacedStores,
  { checkpoint }: CreateTaskRequest,
  options: CallOptions,
): Promise<{ readonly path: string; readonly unpacked?: CheckpointDirectory }> {
  if (checkpoint === undefined) return { path: "" };
  if (checkpoint.mediaType !== CheckpointMediaType.images) {
    throw unimplemented(`unsupported checkpoint type ${JSON.stringify(checkpoint.mediaType)}`);
  }
  const unpacked = await restores.unpack(stores.content, checkpoint.digest, options);
  return { path: unpacked.path, unpacked };
}
