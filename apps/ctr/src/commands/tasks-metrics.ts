import { createTasksClient } from "@berth/client/tasks";
import type { TaskMetrics } from "@berth/client";
import { fromBinary } from "@bufbuild/protobuf";
import type { Metrics as MetricsV1 } from "@berth/api/io/containerd/cgroups/v1/metrics";
import { MetricsSchema as MetricsV1Schema } from "@berth/api/io/containerd/cgroups/v1/metrics";
import type { Metrics as MetricsV2 } from "@berth/api/io/containerd/cgroups/v2/metrics";
import { MetricsSchema as MetricsV2Schema } from "@berth/api/io/containerd/cgroups/v2/metrics";
import { notFound, unimplemented } from "@berth/errors";

import { requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import { formatFlag, isJsonFormat } from "../output/listing.ts";
import { print } from "../output/print.ts";
import { formatAny } from "../output/proto-json.ts";
import { formatTable, WIDE } from "../output/table.ts";
import { formatInstant } from "../output/time.ts";

export const metrics = defineCommand({
  usage: "CONTAINER",
  flags: { format: formatFlag },
  async run({ flags, args, session }) {
    const id = requireArgument(args, 0, "container id must be provided");
    const isJson = isJsonFormat(flags.format);
    const tasks = createTasksClient(session.transport());
    const { signal } = session;
    await tasks.get(id, { signal });
    const [found] = await tasks.metrics([`id==${id}`], { signal });
    if (found === undefined) throw notFound(`metrics of task ${id}`);
    if (isJson) print(`${formatAny(found.data, [MetricsV1Schema, MetricsV2Schema], "  ")}\n`);
    else print(formatMetrics(found));
  },
});

function formatMetrics({ id, timestamp, data }: TaskMetrics): string {
  const time = formatInstant(BigInt(timestamp) * 1_000_000n);
  const rows = rowsOf(data).map(([name, value]) => [name, value, ""]);
  return formatTable([["ID", "TIMESTAMP", ""], [id, time, ""], [""], ["METRIC", "VALUE", ""], ...rows], WIDE);
}

function rowsOf({ typeUrl, value }: TaskMetrics["data"]): (readonly [string, string])[] {
  const name = typeUrl.slice(typeUrl.lastIndexOf("/") + 1);
  if (name === MetricsV1Schema.typeName) return rowsOfV1(fromBinary(MetricsV1Schema, value));
  if (name === MetricsV2Schema.typeName) return rowsOfV2(fromBinary(MetricsV2Schema, value));
  throw unimplemented(`metrics of type ${typeUrl}: try --format json`);
}

function rowsOfV1({ memory, cpu, pids }: MetricsV1): (readonly [string, string])[] {
  const rows: [string, string | bigint][] = [];
  if (memory?.usage !== undefined) {
    rows.push(["memory.usage_in_bytes", memory.usage.usage], ["memory.limit_in_bytes", memory.usage.limit]);
  }
  if (memory !== undefined) rows.push(["memory.stat.cache", memory.totalCache]);
  if (cpu?.usage !== undefined) {
    rows.push(["cpuacct.usage", cpu.usage.total], ["cpuacct.usage_percpu", `[${cpu.usage.perCpu.join(" ")}]`]);
  }
  if (pids !== undefined) rows.push(["pids.current", pids.current], ["pids.limit", pids.limit]);
  return rows.map(([name, value]) => [name, String(value)] as const);
}

function rowsOfV2({ pids, cpu, memory }: MetricsV2): (readonly [string, string])[] {
  const rows: [string, bigint][] = [];
  if (pids !== undefined) rows.push(["pids.current", pids.current], ["pids.limit", pids.limit]);
  if (cpu !== undefined) {
    rows.push(
      ["cpu.usage_usec", cpu.usageUsec],
      ["cpu.user_usec", cpu.userUsec],
      ["cpu.system_usec", cpu.systemUsec],
      ["cpu.nr_periods", cpu.nrPeriods],
      ["cpu.nr_throttled", cpu.nrThrottled],
      ["cpu.throttled_usec", cpu.throttledUsec],
    );
  }
  if (memory !== undefined) {
    rows.push(
      ["memory.usage", memory.usage],
      ["memory.usage_limit", memory.usageLimit],
      ["memory.swap_usage", memory.swapUsage],
      ["memory.swap_limit", memory.swapLimit],
    );
  }
  return rows.map(([name, value]) => [name, String(value)] as const);
}
