import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";

import type { Cgroup } from "./cgroup.ts";
import {
  blockDevicePath,
  flatReader,
  hugePageSizes,
  parseCount,
  parseRdma,
  readCount,
  readStat,
  type RdmaEntry,
} from "./cgroup-files.ts";

/** One counter of a block device. */
export interface BlkIOEntryV1 {
  readonly op: string;
  readonly device: string;
  readonly major: bigint;
  readonly minor: bigint;
  readonly value: bigint;
}

/** A limit and its use. */
export interface MemoryEntryV1 {
  readonly limit: bigint;
  readonly usage: bigint;
  readonly max: bigint;
  readonly failcnt: bigint;
}

/** The statistics of a v1 cgroup, field by field an `io.containerd.cgroups.v1.Metrics`; absent where a controller is. */
export interface CgroupStatsV1 {
  readonly hugetlb: readonly HugetlbV1[];
  readonly pids?: { readonly current: bigint; readonly limit: bigint };
  readonly cpu?: ReturnType<typeof cpuStats>;
  readonly memory?: ReturnType<typeof memoryStats>;
  readonly blkio?: ReturnType<typeof blkioStats>;
  readonly rdma?: { readonly current: readonly RdmaEntry[]; readonly limit: readonly RdmaEntry[] };
  readonly memoryOomControl?: ReturnType<typeof oomControl>;
}

interface HugetlbV1 {
  readonly usage: bigint;
  readonly max: bigint;
  readonly failcnt: bigint;
  readonly pagesize: string;
}

const NANOSECONDS_PER_TICK = 10_000_000n; // of cpuacct.stat: USER_HZ is 100 on both architectures

function cpuStats(cpu: string | undefined, accounting: string | undefined) {
  const ticks = flatReader(accounting ?? "", "cpuacct.stat");
  const throttle = flatReader(cpu ?? "", "cpu.stat");
  const perCpu = readStat(accounting ?? "", "cpuacct.usage_percpu")?.trim() ?? "";
  return {
    usage: {
      total: readCount(accounting ?? "", "cpuacct.usage"),
      kernel: ticks("system") * NANOSECONDS_PER_TICK,
      user: ticks("user") * NANOSECONDS_PER_TICK,
      perCpu: perCpu === "" ? [] : perCpu.split(/\s+/).map((value) => parseCount(value)),
    },
    throttling: {
      periods: throttle("nr_periods"),
      throttledPeriods: throttle("nr_throttled"),
      throttledTime: throttle("throttled_time"),
    },
  };
}

function memoryEntry(directory: string, prefix: string): MemoryEntryV1 {
  return {
    limit: readCount(directory, `${prefix}.limit_in_bytes`),
    usage: readCount(directory, `${prefix}.usage_in_bytes`),
    max: readCount(directory, `${prefix}.max_usage_in_bytes`),
    failcnt: readCount(directory, `${prefix}.failcnt`),
  };
}

function memoryStats(directory: string) {
  const stat = flatReader(directory, "memory.stat");
  return {
    cache: stat("cache"),
    rss: stat("rss"),
    rssHuge: stat("rss_huge"),
    mappedFile: stat("mapped_file"),
    dirty: stat("dirty"),
    writeback: stat("writeback"),
    pgPgIn: stat("pgpgin"),
    pgPgOut: stat("pgpgout"),
    pgFault: stat("pgfault"),
    pgMajFault: stat("pgmajfault"),
    inactiveAnon: stat("inactive_anon"),
    activeAnon: stat("active_anon"),
    inactiveFile: stat("inactive_file"),
    activeFile: stat("active_file"),
    unevictable: stat("unevictable"),
    hierarchicalMemoryLimit: stat("hierarchical_memory_limit"),
    hierarchicalSwapLimit: stat("hierarchical_memsw_limit"),
    totalCache: stat("total_cache"),
    totalRss: stat("total_rss"),
    totalRssHuge: stat("total_rss_huge"),
    totalMappedFile: stat("total_mapped_file"),
    totalDirty: stat("total_dirty"),
    totalWriteback: stat("total_writeback"),
    totalPgPgIn: stat("total_pgpgin"),
    totalPgPgOut: stat("total_pgpgout"),
    totalPgFault: stat("total_pgfault"),
    totalPgMajFault: stat("total_pgmajfault"),
    totalInactiveAnon: stat("total_inactive_anon"),
    totalActiveAnon: stat("total_active_anon"),
    totalInactiveFile: stat("total_inactive_file"),
    totalActiveFile: stat("total_active_file"),
    totalUnevictable: stat("total_unevictable"),
    usage: memoryEntry(directory, "memory"),
    swap: memoryEntry(directory, "memory.memsw"),
    kernel: memoryEntry(directory, "memory.kmem"),
    kernelTcp: memoryEntry(directory, "memory.kmem.tcp"),
  };
}

function oomControl(directory: string) {
  const stat = flatReader(directory, "memory.oom_control");
  return { oomKillDisable: stat("oom_kill_disable"), underOom: stat("under_oom"), oomKill: stat("oom_kill") };
}

/** This parses lines of `8:0 Read 4096` and `8:0 4096`; the sum over all devices (`Total 4096`) is left out. */
export function parseBlkio(text: string | undefined): BlkIOEntryV1[] {
  return (text ?? "").split("\n").flatMap((line) => {
    const match = /^(\d+):(\d+) (?:(\w+) )?(\d+)$/.exec(line);
    if (!match) return [];
    const [, major = "0", minor = "0", op = "", value = "0"] = match;
    const device = blockDevicePath(major, minor);
    return [{ op, device, major: BigInt(major), minor: BigInt(minor), value: BigInt(value) }];
  });
}

function blkioStats(directory: string) {
  const scheduler = ["blkio.", "blkio.bfq."].find((prefix) =>
    existsSync(join(directory, `${prefix}io_serviced_recursive`)),
  );
  const read = (file: string) => parseBlkio(readStat(directory, file));
  const detailed = (file: string) => (scheduler === undefined ? [] : read(`${scheduler}${file}_recursive`));
  // a device without a scheduler that accounts shows up in the throttling counters only
  const either = (file: string) => {
    const entries = detailed(file);
    return entries.length > 0 ? entries : read(`blkio.throttle.${file}`);
  };
  return {
    ioServiceBytesRecursive: either("io_service_bytes"),
    ioServicedRecursive: either("io_serviced"),
    ioQueuedRecursive: detailed("io_queued"),
    ioServiceTimeRecursive: detailed("io_service_time"),
    ioWaitTimeRecursive: detailed("io_wait_time"),
    ioMergedRecursive: detailed("io_merged"),
    ioTimeRecursive: detailed("time"),
    sectorsRecursive: detailed("sectors"),
  };
}

function pidsStats(directory: string) {
  // the root cgroup counts none
  const current = readStat(directory, "pids.current");
  if (current === undefined) return {};
  return { pids: { current: parseCount(current), limit: readCount(directory, "pids.max", 0n) } };
}

function hugetlbStats(directory: string | undefined): HugetlbV1[] {
  if (directory === undefined) return [];
  return hugePageSizes(readdirSync(directory), "usage_in_bytes").map((pagesize) => ({
    usage: readCount(directory, `hugetlb.${pagesize}.usage_in_bytes`),
    max: readCount(directory, `hugetlb.${pagesize}.max_usage_in_bytes`),
    failcnt: readCount(directory, `hugetlb.${pagesize}.failcnt`),
    pagesize,
  }));
}

/** This reads the statistics of a v1 cgroup. */
export function readStatsV1(cgroup: Cgroup): CgroupStatsV1 {
  const present = (controller: string): string | undefined => {
    const directory = cgroup.directories.get(controller);
    return directory !== undefined && existsSync(directory) ? directory : undefined;
  };
  const [pids, cpu, accounting, memory] = [present("pids"), present("cpu"), present("cpuacct"), present("memory")];
  const [blkio, rdma] = [present("blkio"), present("rdma")];
  return {
    hugetlb: hugetlbStats(present("hugetlb")),
    ...(pids && pidsStats(pids)),
    ...((cpu ?? accounting) && { cpu: cpuStats(cpu, accounting) }),
    ...(memory && { memory: memoryStats(memory), memoryOomControl: oomControl(memory) }),
    ...(blkio && { blkio: blkioStats(blkio) }),
    ...(rdma && {
      rdma: { current: parseRdma(readStat(rdma, "rdma.current")), limit: parseRdma(readStat(rdma, "rdma.max")) },
    }),
  };
}
