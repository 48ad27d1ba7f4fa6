import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { MetricsSchema as MetricsV1 } from "@berth/api/io/containerd/cgroups/v1/metrics";
import { MetricsSchema as MetricsV2 } from "@berth/api/io/containerd/cgroups/v2/metrics";
import { codeName, codeOf } from "@berth/errors";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { expect, it } from "vitest";

import {
  type Cgroup,
  cgroupHierarchies,
  cgroupMode,
  cgroupOf,
  joinCgroup,
  oomKillCount,
  parseCgroupFile,
  readCgroupStats,
} from "../src/cgroups.ts";
import { watchOom } from "../src/memory-events.ts";
import { spawn, waitPid } from "../src/process.ts";
import { temporaryDirectory } from "./temporary-directory.ts";
import { errnoName, errorClass } from "./thrown.ts";

const own = cgroupOf("self");
const ownMemory = own.version === 1 ? own.directories.get("memory") : undefined;

it("cgroupOf finds directories that hold this process", () => {
  expect(own.directories.size).toBeGreaterThan(0);
  for (const directory of own.directories.values()) {
    expect(readFileSync(join(directory, "cgroup.procs"), "utf8").split("\n")).toContain(String(process.pid));
  }
  expect(cgroupMode() === "unified").toBe(own.version === 2);
});

it("cgroupHierarchies names every hierarchy that this process is in, once", () => {
  const places = cgroupHierarchies().map(({ mountPoint }) => mountPoint);
  expect(new Set(places).size).toBe(places.length);
  const used = readFileSync("/proc/self/cgroup", "utf8").trimEnd().split("\n");
  // the kernel counts an unmounted tree of version 2 too
  expect(used.length - places.length).toBe(own.directories.has("") ? 0 : 1);
  for (const place of places) expect(existsSync(join(place, "cgroup.procs"))).toBe(true);
  expect(cgroupHierarchies().some(({ version }) => version === 1)).toBe(cgroupMode() !== "unified");
});

it("joinCgroup moves a process into a cgroup that it makes, and to the root where that is wanted", async () => {
  const hierarchies = cgroupHierarchies().filter(({ version }) => version === own.version);
  const paths = (pid: number | "self") => parseCgroupFile(readFileSync(`/proc/${pid}/cgroup`, "utf8"));
  const placesOf = (pid: number) => {
    const places = paths(pid);
    // of version 1, the tree beside it is left alone
    if (own.version === 1) places.delete("");
    return [...new Set(places.values())];
  };
  const path = join(paths("self").get(own.version === 1 ? "memory" : "") ?? "/", `berth-test-${process.pid}-join`);
  const existing = new Set(
    hierarchies.map(({ mountPoint }) => join(mountPoint, path, "..")).filter((at) => existsSync(at)),
  );
  const pid = spawn({ path: "/bin/sleep", args: ["1000"], env: {} });
  try {
    joinCgroup(`${path}/inner`, { pid });
    expect(placesOf(pid)).toEqual([`${path}/inner`]);
    expect(errnoName(() => joinCgroup("/", { pid }))).toBe("EINVAL");
    expect(errnoName(() => joinCgroup("/a/../..", { pid, root: true }))).toBe("EINVAL");
    expect(placesOf(pid)).toEqual([`${path}/inner`]);
    joinCgroup("/", { pid, root: true });
    expect(placesOf(pid)).toEqual(["/"]);
  } finally {
    process.kill(pid, "SIGKILL");
    waitPid(pid);
    for (const { mountPoint } of hierarchies) {
      for (const name of [`${path}/inner`, path]) rmdirSync(join(mountPoint, name));
      const parent = join(mountPoint, path, "..");
      if (!existing.has(parent)) removeEmptyParents(parent, mountPoint);
    }
  }
});

function removeEmptyParents(directory: string, mountPoint: string): void {
  for (let at = directory; at !== mountPoint; at = join(at, "..")) {
    try {
      rmdirSync(at);
    } catch {
      return;
    }
  }
}

it("readCgroupStats of this process fits the wire message", () => {
  const stats = readCgroupStats(own);
  if (stats.version === 2) {
    const bytes = toBinary(MetricsV2, create(MetricsV2, mutable(stats.metrics)));
    expect(fromBinary(MetricsV2, bytes).cpu?.usageUsec).toBe(stats.metrics.cpu?.usageUsec);
    return;
  }
  const message = fromBinary(MetricsV1, toBinary(MetricsV1, create(MetricsV1, mutable(stats.metrics))));
  expect(message.cpu?.usage?.total).toBeGreaterThan(0n);
  expect(message.memory?.usage?.usage).toBeGreaterThan(0n);
  expect(message.memory?.totalPgFault).toBeGreaterThan(0n);
});

/** The initialiser of a message takes mutable arrays; the statistics are read-only. */
type Mutable<T> = T extends bigint | number | string
  ? T
  : T extends readonly (infer E)[]
    ? Mutable<E>[]
    : { -readonly [K in keyof T]: Mutable<T[K]> };

function mutable<T>(value: T): Mutable<T> {
  return value as Mutable<T>; // same value, only the right to write differs
}

const V2_FILES: Readonly<Record<string, string>> = {
  "pids.current": "3\n",
  "pids.max": "max\n",
  "cpu.stat":
    "usage_usec 100\nuser_usec 60\nsystem_usec 40\nnr_periods 1\nnr_throttled 2\nthrottled_usec 3\nnr_bursts 4\nburst_usec 5\n",
  "cpu.pressure": "some avg10=1.50 avg60=0.25 avg300=0.00 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n",
  "memory.stat": "anon 10\nfile 20\nworkingset_refault_anon 1\nworkingset_refault_file 2\npgfault 9\n",
  "memory.current": "4096\n",
  "memory.max": "max\n",
  "memory.peak": "8192\n",
  "memory.swap.max": "1024\n",
  "memory.events": "low 0\nhigh 0\nmax 6\noom 2\noom_kill 1\noom_group_kill 0\n",
  "io.stat": "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n254:1 \n",
  "hugetlb.2MB.current": "2097152\n",
  "hugetlb.2MB.max": "max\n",
  "hugetlb.2MB.events": "max 8\n",
  "rdma.current": "mlx4_0 hca_handle=2 hca_object=2000\n",
  "rdma.max": "mlx4_0 hca_handle=max hca_object=3\n",
};

function unifiedFixture(path: string): Cgroup {
  for (const [file, text] of Object.entries(V2_FILES)) writeFileSync(join(path, file), text);
  return { version: 2, directories: new Map([["", path]]) };
}

it("readCgroupStats reads a v2 cgroup, field by field", async () => {
  await using directory = temporaryDirectory();
  const stats = readCgroupStats(unifiedFixture(directory.path));
  if (stats.version !== 2) throw new Error("not v2");
  const message = fromBinary(MetricsV2, toBinary(MetricsV2, create(MetricsV2, mutable(stats.metrics))));
  const max = 0xffffffffffffffffn;
  expect(message.pids).toMatchObject({ current: 3n, limit: max });
  expect(message.cpu).toMatchObject({ usageUsec: 100n, userUsec: 60n, throttledUsec: 3n, burstUsec: 5n });
  expect(message.cpu?.psi).toMatchObject({ some: { avg10: 1.5, avg60: 0.25, total: 77n }, full: { total: 5n } });
  expect(message.memory).toMatchObject({ anon: 10n, workingsetRefault: 3n, usage: 4096n, usageLimit: max });
  expect(message.memory).toMatchObject({ maxUsage: 8192n, swapLimit: 1024n, pgfault: 9n });
  expect(message.memory?.psi).toBeUndefined();
  expect(message.memoryEvents).toMatchObject({ max: 6n, oom: 2n, oomKill: 1n });
  expect(message.io?.usage).toMatchObject([
    { major: 8n, minor: 0n, rbytes: 1n, wbytes: 2n, rios: 3n, wios: 4n },
    { major: 254n, minor: 1n, rbytes: 0n },
  ]);
  expect(message.hugetlb).toMatchObject([{ pagesize: "2MB", current: 2097152n, max, failcnt: 8n }]);
  expect(message.rdma?.current).toMatchObject([{ device: "mlx4_0", hcaHandles: 2, hcaObjects: 2000 }]);
  expect(message.rdma?.limit).toMatchObject([{ hcaHandles: 0xffffffff, hcaObjects: 3 }]);
});

it("a cgroup that is gone is not_found", () => {
  const gone: Cgroup = { version: 1, directories: new Map([["memory", "/sys/fs/cgroup/memory/berth-gone"]]) };
  expect(errorClass(() => readCgroupStats(gone))).toBe("not_found");
  expect(errorClass(() => watchOom(gone, () => undefined))).toBe("not_found");
  expect(oomKillCount(gone)).toBe(0);
});

it("watchOom tells when oom_kill of a v2 cgroup has grown, and only then", async () => {
  await using directory = temporaryDirectory();
  const cgroup = unifiedFixture(directory.path);
  let events = 0;
  using _watch = watchOom(cgroup, () => (events += 1));
  writeFileSync(join(directory.path, "memory.events"), "max 9\noom_kill 1\n");
  await sleep(30);
  expect(events).toBe(0);
  writeFileSync(join(directory.path, "memory.events"), "max 9\noom_kill 2\n");
  await expect.poll(() => events).toBe(1);
});

it.skipIf(ownMemory === undefined)(
  "watchOom tells of a process killed in a v1 cgroup (needs the v1 memory controller)",
  async () => {
    const path = join(ownMemory ?? "", `berth-test-${process.pid}`);
    mkdirSync(path);
    try {
      writeFileSync(join(path, "memory.limit_in_bytes"), String(8 << 20));
      const cgroup: Cgroup = { version: 1, directories: new Map([["memory", path]]) };
      let events = 0;
      const watch = watchOom(cgroup, () => (events += 1));
      const args = ["-c", `echo 0 > ${path}/cgroup.procs; head -c 64m /dev/zero | tail -c 64m`];
      const pid = spawn({ path: "/bin/sh", args, env: { PATH: "/usr/bin:/bin" } });
      await expect.poll(() => waitPid(pid)?.status, { timeout: 10_000 }).toBe(137);
      await expect.poll(() => events).toBeGreaterThan(0);
      expect(oomKillCount(cgroup)).toBeGreaterThan(0);
      const stats = readCgroupStats(cgroup);
      expect(stats.metrics.cpu).toBeUndefined();
      expect(stats.version === 1 && stats.metrics.memoryOomControl?.oomKill).toBeGreaterThan(0n);
      const before = events;
      await expect.poll(() => removed(path), { timeout: 5000 }).toBe(true);
      await sleep(30);
      expect(events).toBe(before);
      watch[Symbol.dispose]();
    } finally {
      if (existsSync(path)) removed(path);
    }
  },
);

/** A cgroup can be removed only when the processes killed in it are gone altogether. */
function removed(path: string): boolean {
  try {
    rmdirSync(path);
    return true;
  } catch (error) {
    if (codeName(codeOf(error)) === "unknown") return false;
    throw error;
  }
}
