import { MetricsSchema as MetricsV1Schema } from "@berth/api/io/containerd/cgroups/v1/metrics";
import { MetricsSchema as MetricsV2Schema } from "@berth/api/io/containerd/cgroups/v2/metrics";
import type { DescMessage, MessageInitShape } from "@bufbuild/protobuf";
import { create, toBinary } from "@bufbuild/protobuf";
import { expect, it } from "vitest";

import { cgroupSamples } from "./cgroup-samples.ts";

function samplesOf<D extends DescMessage>(schema: D, init: MessageInitShape<D>): ReadonlyMap<string, number> {
  const samples = cgroupSamples({ typeUrl: schema.typeName, value: toBinary(schema, create(schema, init)) });
  return new Map(
    samples.map(({ name, value, labels }) => [
      [name.replace("container_", ""), ...Object.values(labels)].join(" "),
      value,
    ]),
  );
}

/** What containerd's page has for a task on version 2; no machine of the tests has it. */
const V2_NAMES = `
cpu_usage_usec_microseconds cpu_user_usec_microseconds cpu_system_usec_microseconds cpu_nr_periods_total cpu_nr_throttled_total
cpu_throttled_usec_microseconds memory_usage_bytes memory_usage_limit_bytes memory_swap_usage_bytes memory_swap_limit_bytes
memory_file_mapped_bytes memory_file_dirty_bytes memory_file_writeback_bytes memory_pgactivate_bytes memory_pgdeactivate_bytes
memory_pgfault_bytes memory_pgmajfault_bytes memory_pglazyfree_bytes memory_pgrefill_bytes memory_pglazyfreed_bytes
memory_pgscan_bytes memory_pgsteal_bytes memory_inactive_anon_bytes memory_active_anon_bytes memory_inactive_file_bytes
memory_active_file_bytes memory_unevictable_bytes memory_anon_bytes memory_file_bytes memory_kernel_stack_bytes memory_slab_bytes
memory_sock_bytes memory_shmem_bytes memory_anon_thp_bytes memory_slab_reclaimable_bytes memory_slab_unreclaimable_bytes
memory_workingset_refault_bytes memory_workingset_activate_bytes memory_workingset_nodereclaim_bytes memory_thp_fault_alloc_bytes
memory_thp_collapse_alloc_bytes memory_oom_total pids_limit pids_current`
  .trim()
  .split(/\s+/);

it("has containerd's names for version 2", () => {
  const samples = samplesOf(MetricsV2Schema, {
    cpu: { usageUsec: 5n, nrPeriods: 6n, nrBursts: 1n, burstUsec: 1n },
    memory: { usage: 7n, maxUsage: 1n, swapMaxUsage: 1n, pgfault: 8n },
    memoryEvents: { oom: 9n, oomKill: 1n },
    pids: { current: 10n, limit: 0xffffffffffffffffn },
    io: { usage: [{ major: 8n, minor: 1n, rbytes: 11n, wbytes: 12n, rios: 13n, wios: 14n }] },
  });
  const io = ["io_rbytes_bytes 8 1", "io_wbytes_bytes 8 1", "io_rios_total 8 1", "io_wios_total 8 1"];
  expect([...samples.keys()].toSorted()).toEqual([...V2_NAMES, ...io].toSorted());
  const values = ["cpu_usage_usec_microseconds", "memory_usage_bytes", "memory_oom_total", "pids_current", ...io];
  expect(values.map((name) => samples.get(name))).toEqual([5, 7, 9, 10, 11, 12, 13, 14]);
  expect(samples.get("pids_limit")).toBe(2 ** 64);
});

it("has containerd's names for the devices and large pages of version 1", () => {
  const entry = { op: "Read", device: "sda", major: 8n, minor: 0n };
  const samples = samplesOf(MetricsV1Schema, {
    hugetlb: [{ pagesize: "2MB", usage: 1n, failcnt: 2n, max: 3n }],
    blkio: {
      ioMergedRecursive: [{ ...entry, value: 4n }],
      ioServiceBytesRecursive: [{ ...entry, value: 5n }],
      ioWaitTimeRecursive: [{ ...entry, value: 6n }],
      sectorsRecursive: [{ ...entry, value: 7n }],
    },
  });
  expect(Object.fromEntries(samples)).toEqual({
    "hugetlb_usage_bytes 2MB": 1,
    "hugetlb_failcnt_total 2MB": 2,
    "hugetlb_max_bytes 2MB": 3,
    "blkio_io_merged_recursive_total Read sda 8 0": 4,
    "blkio_io_service_bytes_recursive_bytes Read sda 8 0": 5,
    "blkio_sectors_recursive_total Read sda 8 0": 7,
  });
});

it("has nothing for metrics of another kind", () => {
  expect(cgroupSamples({ typeUrl: "example.Metrics", value: new Uint8Array([1, 2, 3]) })).toEqual([]);
});
