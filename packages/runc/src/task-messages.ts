import { type DescMessage, type MessageInitShape, create, toBinary } from "@bufbuild/protobuf";
import { ProcessDetailsSchema } from "@berth/api/containerd/runc/v1/options";
import { MetricsSchema as MetricsV1Schema } from "@berth/api/io/containerd/cgroups/v1/metrics";
import { MetricsSchema as MetricsV2Schema } from "@berth/api/io/containerd/cgroups/v2/metrics";
import { isNotFound, notFound } from "@berth/errors";
import { type CgroupStats, readCgroupStats } from "@berth/linux/cgroups";

import type { Container } from "./container.ts";

/** containerd names messages in an Any by their bare name. */
function pack<D extends DescMessage>(schema: D, message: MessageInitShape<D>) {
  return { typeUrl: schema.typeName, value: toBinary(schema, create(schema, message)) };
}

/** This names a process, and the exec that it is. */
export function describeProcess(pid: number, execId: string | undefined) {
  return execId === undefined ? { pid } : { pid, info: pack(ProcessDetailsSchema, { execId }) };
}

/** This packs the statistics of a container. @throws not_found - its cgroup is gone */
export function containerStats(container: Container) {
  return packStats(readStats(container));
}

/** This packs what the containers of a sandbox use together; nothing of those whose cgroups are gone. */
export function sandboxStats(containers: readonly Container[]) {
  const all = containers.flatMap((container) => {
    try {
      return [readStats(container)];
    } catch (error) {
      if (isNotFound(error)) return [];
      throw error;
    }
  });
  const v1 = all.flatMap((stats) => (stats.version === 1 ? [stats.metrics] : []));
  if (v1.length > 0) {
    return pack(MetricsV1Schema, {
      pids: { current: sum(v1, ({ pids }) => pids?.current) },
      cpu: { usage: { total: sum(v1, ({ cpu }) => cpu?.usage?.total) } },
      memory: { usage: { usage: sum(v1, ({ memory }) => memory?.usage?.usage) } },
    });
  }
  const v2 = all.flatMap((stats) => (stats.version === 2 ? [stats.metrics] : []));
  return pack(MetricsV2Schema, {
    pids: { current: sum(v2, ({ pids }) => pids?.current) },
    cpu: { usageUsec: sum(v2, ({ cpu }) => cpu?.usageUsec) },
    memory: { usage: sum(v2, ({ memory }) => memory?.usage) },
  });
}

function sum<T>(items: readonly T[], count: (item: T) => bigint | undefined): bigint {
  return items.reduce((total, item) => total + (count(item) ?? 0n), 0n);
}

function readStats(container: Container): CgroupStats {
  if (!container.cgroup) throw notFound(`cgroup of container ${container.id} does not exist`);
  return readCgroupStats(container.cgroup);
}

function packStats(stats: CgroupStats) {
  // `readonly` lists initialise messages as well as others; the generated type does not say so
  return stats.version === 1
    ? pack(MetricsV1Schema, stats.metrics as MessageInitShape<typeof MetricsV1Schema>)
    : pack(MetricsV2Schema, stats.metrics as MessageInitShape<typeof MetricsV2Schema>);
}
