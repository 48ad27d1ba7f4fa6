import type { CreateTaskRequest } from "@berth/api/containerd/services/tasks/v1/tasks";
import { type Options, OptionsSchema } from "@berth/api/containerd/runc/v1/options";
import type { AnyValue, CallOptions } from "@berth/core/any";
import type { Container } from "@berth/core/containers";
import type { NamespacedStores } from "@berth/core/metadata";
import type { Mount } from "@berth/core/mount";
import { invalidArgument, messageOf, unimplemented } from "@berth/errors";
import { namespaceOf } from "@berth/rpc";
import { fromBinary } from "@bufbuild/protobuf";
import type { HandlerContext } from "@connectrpc/connect";

import type { TasksServiceOptions } from "./tasks-service-options.ts";
import { fromProtoMount } from "../task-messages.ts";

/** Annotation of a checkpoint descriptor: the checkpoint is this directory, not a blob. */
const RESTORE_FROM_PATH = "RestoreFromPath";

/** This makes the task of a container record. @throws not_found, already_exists, invalid_argument */
export async function createTask(
  { runtime, metadata }: TasksServiceOptions,
  request: CreateTaskRequest,
  context: HandlerContext,
): Promise<{ containerId: string; pid: number }> {
  const namespace = namespaceOf(context);
  const { containerId, stdin, stdout, stderr, terminal, options, runtimePath } = request;
  const { signal } = context;
  const stores = metadata.namespace(namespace);
  const container = await stores.containers.get(containerId, { signal });
  if (container.spec === undefined) throw invalidArgument(`container ${containerId} has no spec`);
  const api = taskApiOf(request, container);
  const task = await runtime.create(namespace, containerId, {
    spec: container.spec,
    io: { stdin, stdout, stderr, terminal },
    rootfs: await rootfsOf(request, container, stores, { signal }),
    checkpoint: checkpointPath(request),
    runtime: container.runtime.name,
    sandboxId: container.sandboxId,
    signal,
    ...(runtimePath === "" ? {} : { runtimePath }),
    ...(container.runtime.options === undefined ? {} : { runtimeOptions: container.runtime.options }),
    ...(options === undefined ? {} : { taskOptions: options }),
    ...(api.address === "" ? {} : { taskApiAddress: api.address, taskApiVersion: api.version }),
  });
  return { containerId, pid: (await task.state({ signal })).pid };
}

/** Clients send the mounts; one that sends none gets those of the container's snapshot. */
async function rootfsOf(
  request: CreateTaskRequest,
  { snapshotter, snapshotKey }: Container,
  stores: NamespacedStores,
  options: CallOptions,
): Promise<readonly Mount[]> {
  if (request.rootfs.length > 0 || snapshotKey === "") return request.rootfs.map(fromProtoMount);
  return await stores.snapshotter(snapshotter).mounts(snapshotKey, options);
}

function checkpointPath({ checkpoint }: CreateTaskRequest): string {
  if (checkpoint === undefined) return "";
  const path = checkpoint.annotations[RESTORE_FROM_PATH];
  if (path !== undefined && path !== "") return path;
  throw unimplemented(
    `restore from checkpoint blob ${checkpoint.digest}: only a directory (annotation ${RESTORE_FROM_PATH}) is supported`,
  );
}

/** The sandbox endpoint that a request names itself, or in the fields that runc's options have for it. */
function taskApiOf(request: CreateTaskRequest, container: Container): { address: string; version: number } {
  const options = decodeRuncOptions(request.options) ?? decodeRuncOptions(container.runtime.options);
  if (request.taskApiAddress !== "") return { address: request.taskApiAddress, version: request.taskApiVersion };
  return { address: options?.taskApiAddress ?? "", version: options?.taskApiVersion ?? 0 };
}

function decodeRuncOptions(options: AnyValue | undefined): Options | undefined {
  if (options === undefined || !options.typeUrl.endsWith(OptionsSchema.typeName)) return undefined;
  try {
    return fromBinary(OptionsSchema, options.value);
  } catch (error) {
    throw invalidArgument(`runtime options: ${messageOf(error)}`, { cause: error });
  }
}
