import type { Process } from "@berth/api/containerd/v1/types/task";
import type { CallOptions } from "@berth/core/any";
import type { Task } from "@berth/core/runtime";
import { toProtoTimestampOrZeroNs } from "@berth/core/timestamp";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ProcessSchema } from "@berth/api/containerd/v1/types/task";

import { toProtoStatus } from "../task-messages.ts";

/** This adds a time limit to the options of a call. */
export function withTimeout({ signal }: CallOptions, timeoutMs: number): { readonly signal: AbortSignal } {
  const limit = AbortSignal.timeout(timeoutMs);
  return { signal: signal === undefined ? limit : AbortSignal.any([signal, limit]) };
}

/** This asks for the state of a process; as in containerd the id of its container is left out. */
export async function processOf(
  task: Task,
  execId: string,
  options: CallOptions,
): Promise<MessageInitShape<typeof ProcessSchema> & Pick<Process, "id" | "pid">> {
  const { pid, status, stdin, stdout, stderr, terminal, exitStatus, exitedAtNs } = await task.state({
    ...options,
    execId,
  });
  return {
    id: execId === "" ? task.id : execId,
    pid,
    status: toProtoStatus(status),
    stdin,
    stdout,
    stderr,
    terminal,
    exitStatus,
    exitedAt: toProtoTimestampOrZeroNs(exitedAtNs),
  };
}
