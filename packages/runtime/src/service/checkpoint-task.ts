import { CheckpointOptionsSchema } from "@berth/api/containerd/runc/v1/options";
import type { CheckpointTaskRequest } from "@berth/api/containerd/services/tasks/v1/tasks";
import type { DescriptorSchema } from "@berth/api/containerd/types/descriptor";
import { invalidArgument, messageOf, unimplemented } from "@berth/errors";
import type { Digest } from "@berth/oci";
import { leaseOf, namespaceOf } from "@berth/rpc";
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import type { HandlerContext } from "@connectrpc/connect";

import { CheckpointMediaType, makeCheckpointDirectory, packCheckpoint, storeBlob } from "./checkpoint-files.ts";
import type { TasksServiceOptions } from "./tasks-service-options.ts";

type ProtoDescriptor = MessageInitShape<typeof DescriptorSchema>;

/**
 * This has the shim write a checkpoint of a running task: into the directory that the options name, else into the content store, as
 * a tar of its images and the spec of the container.
 *
 * @throws unimplemented - a checkpoint on top of a parent
 * @see containerd plugins/services/tasks/local.go, Checkpoint
 */
export async function checkpointTask(
  { runtime, metadata }: TasksServiceOptions,
  request: CheckpointTaskRequest,
  context: HandlerContext,
): Promise<{ descriptors: ProtoDescriptor[] }> {
  const namespace = namespaceOf(context);
  const { signal } = context;
  const task = runtime.get(namespace, request.containerId);
  if (request.parentCheckpoint !== "") throw unimplemented("checkpoint with a parent");
  const options = request.options === undefined ? {} : { checkpointOptions: request.options };
  const path = imagePath(request);
  if (path !== "") {
    await task.checkpoint(path, { ...options, signal });
    return { descriptors: [] };
  }
  const { containers, content } = metadata.namespace(namespace, { lease: leaseOf(context) });
  const { spec } = await containers.get(request.containerId, { signal });
  await using directory = await makeCheckpointDirectory();
  // Nobody stops CRIU in the middle of it: what it writes to is there until it has done.
  await task.checkpoint(directory.path, options);
  signal.throwIfAborted();
  const images = await storeBlob(content, directory.path, packCheckpoint(directory.path), { signal });
  const bytes = toBinary(AnySchema, create(AnySchema, spec ?? {}));
  const config = await storeBlob(content, `${directory.path}/spec`, [bytes], { signal });
  return {
    descriptors: [
      toProtoDescriptor(CheckpointMediaType.images, images),
      toProtoDescriptor(CheckpointMediaType.spec, config),
    ],
  };
}

function toProtoDescriptor(mediaType: string, { digest, size }: { digest: Digest; size: number }): ProtoDescriptor {
  return { mediaType, digest, size: BigInt(size) };
}

function imagePath({ options }: CheckpointTaskRequest): string {
  if (options === undefined || !options.typeUrl.endsWith(CheckpointOptionsSchema.typeName)) return "";
  try {
    return fromBinary(CheckpointOptionsSchema, options.value).imagePath;
  } catch (error) {
    throw invalidArgument(`checkpoint options: ${messageOf(error)}`, { cause: error });
  }
}
