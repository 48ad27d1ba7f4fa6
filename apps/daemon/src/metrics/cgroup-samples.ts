import type { Metrics as MetricsV1 } from "@berth/api/io/containerd/cgroups/v1/metrics";
import {
  BlkIOStatSchema,
  MemoryStatSchema as MemoryStatV1Schema,
  MetricsSchema as MetricsV1Schema,
} from "@berth/api/io/containerd/cgroups/v1/metrics";
import type { Metrics as MetricsV2 } from "@berth/api/io/containerd/cgroups/v2/metrics";
import {
  CPUStatSchema,
  MemoryStatSchema as MemoryStatV2Schema,
  MetricsSchema as MetricsV2Schema,
} from "@berth/api/io/containerd/cgroups/v2/metrics";
import type { AnyValue } from "@berth/core/any";
import { messageName } from "@berth/core/messages";
import type { DescField, DescMessage } from "@bufbuild/protobuf";
import { fromBinary } from "@bufbuild/protobuf";

/** One number of a task, under the name that it has on containerd's page. */
export interface TaskSample {
  readonly name: string;
  readonly value: number;
  readonly labels: Readonly<Record<string, string>>;
}

/** Fields whose names on the page are not their own. */
const V1_MEMORY_NAMES: ReadonlyMap<string, string> = new Map([
  ...["", "total_"].flatMap((prefix) =>
    (
      [
        ["pg_pg_in", "pgpgin"],
        ["pg_pg_out", "pgpgout"],
        ["pg_fault", "pgfault"],
        ["pg_maj_fault", "pgmajfault"],
      ] as const
    ).map(([field, name]) => [`${prefix}${field}`, `${prefix}${name}`] as const),
  ),
  ["hierarchical_swap_limit", "hierarchical_memsw_limit"],
]);
/** Fields that the page does not show. */
const NOT_SHOWN: ReadonlySet<string> = new Set([
  "max_usage",
  "swap_max_usage",
  "nr_bursts",
  "burst_usec",
  "io_wait_time_recursive",
]);

/** This takes the metrics of a shim apart; those that are of no cgroup are none. */
export function cgroupSamples(data: AnyValue): readonly TaskSample[] {
  const type = messageName(data);
  if (type === MetricsV1Schema.typeName) return samplesV1(fromBinary(MetricsV1Schema, data.value));
  if (type === MetricsV2Schema.typeName) return samplesV2(fromBinary(MetricsV2Schema, data.value));
  return [];
}

/** @see containerd core/metrics/cgroups/v1 */
function samplesV1({ cpu, memory, blkio, hugetlb, pids }: MetricsV1): readonly TaskSample[] {
  const samples: TaskSample[] = [...pidsSamples(pids)];
  if (cpu !== undefined) {
    const { total = 0n, kernel = 0n, user = 0n, perCpu = [] } = cpu.usage ?? {};
    const { periods = 0n, throttledPeriods = 0n, throttledTime = 0n } = cpu.throttling ?? {};
    samples.push(sample("cpu_total_nanoseconds", total), sample("cpu_kernel_nanoseconds", kernel));
    samples.push(sample("cpu_user_nanoseconds", user));
    samples.push(...perCpu.map((value, i) => sample("per_cpu_nanoseconds", value, { cpu: String(i) })));
    samples.push(
      sample("cpu_throttle_periods_total", periods),
      sample("cpu_throttled_periods_total", throttledPeriods),
    );
    samples.push(sample("cpu_throttled_time_nanoseconds", throttledTime));
  }
  if (memory !== undefined) {
    for (const [name, value] of numbersOf(MemoryStatV1Schema, memory)) {
      samples.push(sample(`memory_${V1_MEMORY_NAMES.get(name) ?? name}_bytes`, value));
    }
    const { usage, swap, kernel, kernelTcp: kerneltcp } = memory;
    for (const [name, entry] of Object.entries({ usage, swap, kernel, kerneltcp })) {
      if (entry === undefined) continue;
      samples.push(
        sample(`memory_${name}_failcnt_total`, entry.failcnt),
        sample(`memory_${name}_limit_bytes`, entry.limit),
      );
      samples.push(sample(`memory_${name}_max_bytes`, entry.max), sample(`memory_${name}_usage_bytes`, entry.usage));
    }
  }
  for (const { pagesize: page, usage, failcnt, max } of hugetlb) {
    samples.push(sample("hugetlb_usage_bytes", usage, { page }), sample("hugetlb_failcnt_total", failcnt, { page }));
    samples.push(sample("hugetlb_max_bytes", max, { page }));
  }
  if (blkio !== undefined) samples.push(...blockSamples(blkio));
  return samples;
}

function blockSamples(blkio: NonNullable<MetricsV1["blkio"]>): readonly TaskSample[] {
  return shownFields(BlkIOStatSchema).flatMap(({ name, localName }) => {
    const unit = name === "io_service_bytes_recursive" ? "bytes" : "total";
    // All its fields are lists of entries.
    const entries = blkio[localName as "ioTimeRecursive"];
    return entries.map(({ op, device, major, minor, value }) =>
      sample(`blkio_${name}_${unit}`, value, { op, device, major: String(major), minor: String(minor) }),
    );
  });
}

/** @see containerd core/metrics/cgroups/v2 */
function samplesV2({ cpu, memory, memoryEvents, io, pids }: MetricsV2): readonly TaskSample[] {
  const samples: TaskSample[] = [...pidsSamples(pids)];
  for (const [name, value] of cpu === undefined ? [] : numbersOf(CPUStatSchema, cpu)) {
    samples.push(sample(`cpu_${name}_${name.endsWith("_usec") ? "microseconds" : "total"}`, value));
  }
  for (const [name, value] of memory === undefined ? [] : numbersOf(MemoryStatV2Schema, memory)) {
    samples.push(sample(`memory_${name}_bytes`, value));
  }
  if (memoryEvents !== undefined) samples.push(sample("memory_oom_total", memoryEvents.oom));
  for (const { major, minor, rbytes, wbytes, rios, wios } of io?.usage ?? []) {
    const labels = { major: String(major), minor: String(minor) };
    samples.push(sample("io_rbytes_bytes", rbytes, labels), sample("io_wbytes_bytes", wbytes, labels));
    samples.push(sample("io_rios_total", rios, labels), sample("io_wios_total", wios, labels));
  }
  return samples;
}

function pidsSamples(pids: { readonly limit: bigint; readonly current: bigint } | undefined): readonly TaskSample[] {
  return pids === undefined ? [] : [sample("pids_limit", pids.limit), sample("pids_current", pids.current)];
}

/** Fields of a message that are numbers and shown, by their names in the protocol. */
function numbersOf(schema: DescMessage, message: object): readonly (readonly [name: string, value: bigint])[] {
  return shownFields(schema).flatMap(({ fieldKind, name, localName }) => {
    // A message has its fields under their local names; all numbers of these messages have 64 bits.
    const value = (message as Readonly<Record<string, unknown>>)[localName];
    return fieldKind === "scalar" && typeof value === "bigint" ? [[name, value] as const] : [];
  });
}

function shownFields(schema: DescMessage): readonly DescField[] {
  return schema.fields.filter(({ name }) => !NOT_SHOWN.has(name));
}

function sample(name: string, value: bigint, labels: Readonly<Record<string, string>> = {}): TaskSample {
  return { name: `container_${name}`, value: Number(value), labels };
}
