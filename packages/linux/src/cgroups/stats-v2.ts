import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";

import type { Cgroup } from "./cgroup.ts";
import {
  flatReader,
  hugePageSizes,
  parseCount,
  parseNested,
  parseRdma,
  readCount,
  readStat,
  type RdmaEntry,
} from "./cgroup-files.ts";

/** The statistics of a v2 cgroup, field by field an `io.containerd.cgroups.v2.Metrics`; absent where a controller is. */
export interface CgroupStatsV2 {
  readonly pids?: { readonly current: bigint; readonly limit: bigint };
  readonly cpu?: ReturnType<typeof cpuStats>;
  readonly memory?: ReturnType<typeof memoryStats>;
  readonly memoryEvents?: ReturnType<typeof memoryEvents>;
  readonly io?: ReturnType<typeof ioStats>;
  readonly rdma?: { readonly current: readonly RdmaEntry[]; readonly limit: readonly RdmaEntry[] };
  readonly hugetlb: readonly HugeTlbV2[];
}

interface HugeTlbV2 {
  readonly current: bigint;
  readonly max: bigint;
  readonly pagesize: string;
  readonly failcnt: bigint;
}

/** One row of a pressure file. */
export interface PsiData {
  readonly avg10: number;
  readonly avg60: number;
  readonly avg300: number;
  readonly total: bigint;
}

/** Who waits for a resource: some of the tasks, or all of them. */
export interface PsiStats {
  readonly some: PsiData;
  readonly full: PsiData;
}

const NO_PRESSURE: PsiData = { avg10: 0, avg60: 0, avg300: 0, total: 0n };

/** This parses a pressure file; `undefined` where the kernel does not account pressure. */
export function parsePressure(text: string | undefined): { readonly psi: PsiStats } | undefined {
  if (text === undefined) return undefined;
  const rows = new Map<string, PsiData>();
  for (const { key, values } of parseNested(text)) {
    const average = (name: string): number => Number.parseFloat(values.get(name) ?? "0") || 0;
    const total = parseCount(values.get("total"));
    rows.set(key, { avg10: average("avg10"), avg60: average("avg60"), avg300: average("avg300"), total });
  }
  return { psi: { some: rows.get("some") ?? NO_PRESSURE, full: rows.get("full") ?? NO_PRESSURE } };
}

function cpuStats(directory: string) {
  const stat = flatReader(directory, "cpu.stat");
  return {
    usageUsec: stat("usage_usec"),
    userUsec: stat("user_usec"),
    systemUsec: stat("system_usec"),
    nrPeriods: stat("nr_periods"),
    nrThrottled: stat("nr_throttled"),
    throttledUsec: stat("throttled_usec"),
    nrBursts: stat("nr_bursts"),
    burstUsec: stat("burst_usec"),
    ...parsePressure(readStat(directory, "cpu.pressure")),
  };
}

function memoryStats(directory: string) {
  const stat = flatReader(directory, "memory.stat");
  return {
    anon: stat("anon"),
    file: stat("file"),
    kernelStack: stat("kernel_stack"),
    slab: stat("slab"),
    sock: stat("sock"),
    shmem: stat("shmem"),
    fileMapped: stat("file_mapped"),
    fileDirty: stat("file_dirty"),
    fileWriteback: stat("file_writeback"),
    anonThp: stat("anon_thp"),
    inactiveAnon: stat("inactive_anon"),
    activeAnon: stat("active_anon"),
    inactiveFile: stat("inactive_file"),
    activeFile: stat("active_file"),
    unevictable: stat("unevictable"),
    slabReclaimable: stat("slab_reclaimable"),
    slabUnreclaimable: stat("slab_unreclaimable"),
    ...pageStats(stat),
    usage: readCount(directory, "memory.current"),
    usageLimit: readCount(directory, "memory.max"),
    swapUsage: readCount(directory, "memory.swap.current"),
    swapLimit: readCount(directory, "memory.swap.max"),
    maxUsage: readCount(directory, "memory.peak"),
    swapMaxUsage: readCount(directory, "memory.swap.peak"),
    ...parsePressure(readStat(directory, "memory.pressure")),
  };
}

function pageStats(stat: (name: string) => bigint) {
  // kernels from 5.9 on count anonymous and file pages apart
  const both = (name: string): bigint => stat(name) + stat(`${name}_anon`) + stat(`${name}_file`);
  return {
    pgfault: stat("pgfault"),
    pgmajfault: stat("pgmajfault"),
    workingsetRefault: both("workingset_refault"),
    workingsetActivate: both("workingset_activate"),
    workingsetNodereclaim: stat("workingset_nodereclaim"),
    pgrefill: stat("pgrefill"),
    pgscan: stat("pgscan"),
    pgsteal: stat("pgsteal"),
    pgactivate: stat("pgactivate"),
    pgdeactivate: stat("pgdeactivate"),
    pglazyfree: stat("pglazyfree"),
    pglazyfreed: stat("pglazyfreed"),
    thpFaultAlloc: stat("thp_fault_alloc"),
    thpCollapseAlloc: stat("thp_collapse_alloc"),
  };
}

function memoryEvents(directory: string) {
  const stat = flatReader(directory, "memory.events");
  return {
    low: stat("low"),
    high: stat("high"),
    max: stat("max"),
    oom: stat("oom"),
    oomKill: stat("oom_kill"),
    oomGroupKill: stat("oom_group_kill"),
  };
}

function ioStats(directory: string) {
  const usage = parseNested(readStat(directory, "io.stat")).flatMap(({ key, values }) => {
    const match = /^(\d+):(\d+)$/.exec(key);
    if (!match) return [];
    const count = (name: string): bigint => parseCount(values.get(name));
    return [
      {
        major: BigInt(match[1] ?? 0),
        minor: BigInt(match[2] ?? 0),
        rbytes: count("rbytes"),
        wbytes: count("wbytes"),
        rios: count("rios"),
        wios: count("wios"),
      },
    ];
  });
  return { usage, ...parsePressure(readStat(directory, "io.pressure")) };
}

function hugetlbStats(directory: string, names: readonly string[]): HugeTlbV2[] {
  return hugePageSizes(names, "current").map((pagesize) => ({
    current: readCount(directory, `hugetlb.${pagesize}.current`),
    max: readCount(directory, `hugetlb.${pagesize}.max`),
    pagesize,
    failcnt: flatReader(directory, `hugetlb.${pagesize}.events`)("max"),
  }));
}

/** This reads the statistics of a v2 cgroup. @throws ENOENT - it is gone */
export function readStatsV2(cgroup: Cgroup): CgroupStatsV2 {
  const directory = cgroup.directories.get("") ?? "";
  const names = readdirSync(directory);
  const has = (file: string): boolean => existsSync(join(directory, file));
  return {
    hugetlb: hugetlbStats(directory, names),
    ...(has("pids.current") && {
      pids: { current: readCount(directory, "pids.current"), limit: readCount(directory, "pids.max") },
    }),
    ...(has("cpu.stat") && { cpu: cpuStats(directory) }),
    ...(has("memory.stat") && { memory: memoryStats(directory) }),
    ...(has("memory.events") && { memoryEvents: memoryEvents(directory) }),
    ...(has("io.stat") && { io: ioStats(directory) }),
    ...(has("rdma.current") && {
      rdma: {
        current: parseRdma(readStat(directory, "rdma.current")),
        limit: parseRdma(readStat(directory, "rdma.max")),
      },
    }),
  };
}
