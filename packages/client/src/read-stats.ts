import { fromBinary } from "@bufbuild/protobuf";
import type { Metrics as MetricsV1 } from "@berth/api/io/containerd/cgroups/v1/metrics";
import { MetricsSchema as MetricsV1Schema } from "@berth/api/io/containerd/cgroups/v1/metrics";
import type { Metrics as MetricsV2 } from "@berth/api/io/containerd/cgroups/v2/metrics";
import { MetricsSchema as MetricsV2Schema } from "@berth/api/io/containerd/cgroups/v2/metrics";
import type { CallOptions } from "@berth/core/any";
import { unimplemented } from "@berth/errors";

import type { Client } from "./client.ts";

/** What a task uses, whichever cgroups its host has. A limit is absent where there is none. */
export interface TaskStats {
  readonly memory: { readonly usageBytes: number; readonly limitBytes?: number };
  readonly cpu: { readonly usageMs: number };
  readonly pids: { readonly current: number; readonly limit?: number };
}

/** What the kernel tells for "no limit" is this, or near it. */
const NO_LIMIT = 2n ** 62n;

/**
 * This asks how much of the host a task uses. `RemoteTask.stats` has the whole message.
 *
 * @throws not_found - the task is gone, or has no cgroup; unimplemented - its shim tells it in another form
 */
export async function readStats(client: Client, id: string, options?: CallOptions): Promise<TaskStats> {
  const { typeUrl, value } = await client.tasks.task(id).stats(options);
  const name = typeUrl.slice(typeUrl.lastIndexOf("/") + 1);
  if (name === MetricsV1Schema.typeName) return statsOfV1(fromBinary(MetricsV1Schema, value));
  if (name === MetricsV2Schema.typeName) return statsOfV2(fromBinary(MetricsV2Schema, value));
  throw unimplemented(`metrics of type ${typeUrl}`);
}

function statsOfV1({ memory, cpu, pids }: MetricsV1): TaskStats {
  return {
    memory: { usageBytes: Number(memory?.usage?.usage ?? 0n), ...limitOf("limitBytes", memory?.usage?.limit) },
    cpu: { usageMs: Number(cpu?.usage?.total ?? 0n) / 1e6 },
    pids: { current: Number(pids?.current ?? 0n), ...limitOf("limit", pids?.limit) },
  };
}

function statsOfV2({ memory, cpu, pids }: MetricsV2): TaskStats {
  return {
    memory: { usageBytes: Number(memory?.usage ?? 0n), ...limitOf("limitBytes", memory?.usageLimit) },
    cpu: { usageMs: Number(cpu?.usageUsec ?? 0n) / 1e3 },
    pids: { current: Number(pids?.current ?? 0n), ...limitOf("limit", pids?.limit) },
  };
}

function limitOf<N extends string>(name: N, limit: bigint | undefined): { readonly [P in N]?: number } {
  const isNone = limit === undefined || limit === 0n || limit >= NO_LIMIT;
  // A computed key widens to an index signature, which is the mapped type for a single literal.
  return (isNone ? {} : { [name]: Number(limit) }) as { readonly [P in N]?: number };
}
