import { TaskDeleteSchema, TaskExitSchema } from "@berth/api/containerd/events/task";
import type { EventPublisher } from "@berth/core/events";
import type { ExitStatus } from "@berth/core/runtime";
import { toProtoTimestampNs } from "@berth/core/timestamp";
import { create, toBinary } from "@bufbuild/protobuf";

import type { BundleName } from "./bundle.ts";

/** This tells of an exit that the shim could not tell of. */
export async function publishExit(
  events: EventPublisher,
  { namespace, id }: BundleName,
  execId: string,
  exit: ExitStatus,
): Promise<void> {
  const { pid, exitStatus, exitedAtNs } = exit;
  const exitedAt = toProtoTimestampNs(exitedAtNs);
  // The init process goes by the id of its container.
  const message = create(TaskExitSchema, { containerId: id, id: execId || id, pid, exitStatus, exitedAt });
  const value = toBinary(TaskExitSchema, message);
  await events.publish(namespace, "/tasks/exit", { typeUrl: TaskExitSchema.typeName, value });
}

/** This tells of the end of a task whose shim is dead. */
export async function publishDelete(
  events: EventPublisher,
  { namespace, id }: BundleName,
  exit: ExitStatus,
): Promise<void> {
  const { pid, exitStatus, exitedAtNs } = exit;
  const message = create(TaskDeleteSchema, {
    containerId: id,
    pid,
    exitStatus,
    exitedAt: toProtoTimestampNs(exitedAtNs),
  });
  const value = toBinary(TaskDeleteSchema, message);
  await events.publish(namespace, "/tasks/delete", { typeUrl: TaskDeleteSchema.typeName, value });
}
