import { CheckpointOptionsSchema } from "@berth/api/containerd/runc/v1/options";
import type { CheckpointTaskRequest } from "@berth/api/containerd/services/tasks/v1/tasks";
import { invalidArgument, messageOf, unimplemented } from "@berth/errors";
import { namespaceOf } from "@berth/rpc";
import { fromBinary } from "@bufbuild/protobuf";
import type { HandlerContext } from "@connectrpc/connect";

import type { TasksServiceOptions } from "./tasks-service-options.ts";

/**
 * This writes a checkpoint of a running task into the directory that the options name.
 *
 * @throws unimplemented - no directory is named: a checkpoint in the content store, or one on top of a parent
 */
export async function checkpointTask(
  { runtime }: TasksServiceOptions,
  request: CheckpointTaskRequest,
  context: HandlerContext,
): Promise<{ descriptors: [] }> {
  const task = runtime.get(namespaceOf(context), request.containerId);
  if (request.parentCheckpoint !== "") throw unimplemented("checkpoint with a parent");
  const path = imagePath(request);
  if (path === "") throw unimplemented("checkpoint into the content store: name an image path in the options");
  const { signal } = context;
  await task.checkpoint(path, {
    signal,
    ...(request.options === undefined ? {} : { checkpointOptions: request.options }),
  });
  return { descriptors: [] };
}

function imagePath({ options }: CheckpointTaskRequest): string {
  if (options === undefined || !options.typeUrl.endsWith(CheckpointOptionsSchema.typeName)) return "";
  try {
    return fromBinary(CheckpointOptionsSchema, options.value).imagePath;
  } catch (error) {
    throw invalidArgument(`checkpoint options: ${messageOf(error)}`, { cause: error });
  }
}
