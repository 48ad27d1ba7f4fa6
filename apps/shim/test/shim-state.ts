import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { readMountInfo } from "@berth/linux/mount";

/** What a shim holds, by kind: names where they tell something, else counts. */
export type ShimState = Readonly<Record<string, readonly string[] | number>>;

/** Where to look. */
export interface ShimPlace {
  readonly pid: number;
  /** Everything of the shim is below it. */
  readonly directory: string;
}

/** This looks at everything that a shim could leak, but for its memory and timers. */
export function shimState({ pid, directory }: ShimPlace): ShimState {
  return {
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
    children: childrenOf(pid).length,
    mounts: readMountInfo()
      .map(({ mountPoint }) => mountPoint)
      .filter((path) => path.startsWith(directory)),
    cgroups: cgroupsOfTests(),
    // sockets, FIFOs, bundles and the state of the runtime among them
    files: readdirSync(directory, { recursive: true, encoding: "utf8" })
      .filter((path) => !path.includes("/rootfs/"))
      .toSorted(),
    terminals: readdirSync("/tmp").filter((name) => name.startsWith("berth-console-")),
  };
}

/** Resident memory in bytes. */
export function residentBytes(pid: number): number {
  const [, kib = "0"] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return Number(kib) * 1024;
}

/** Processes of a runtime that makes the container of a bundle. */
export function runtimesOf(bundle: string): number[] {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return pids.map(Number).filter((pid) => {
    const words = wordsOf(pid);
    return words.includes("create") && words.includes(bundle);
  });
}

function wordsOf(pid: number): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  } catch {
    return [];
  }
}

function childrenOf(pid: number): string[] {
  return readdirSync(`/proc/${pid}/task`)
    .flatMap((task) => readFileSync(`/proc/${pid}/task/${task}/children`, "utf8").trim().split(" "))
    .filter((child) => child !== "");
}

/** Cgroups of containers of this test's process. */
export function cgroupsOfTests(): string[] {
  const root = "/sys/fs/cgroup";
  const hierarchies = existsSync(join(root, "cgroup.controllers"))
    ? [root]
    : readdirSync(root).map((name) => join(root, name));
  const own = `berth-test-${process.pid}-`;
  return hierarchies
    .flatMap((directory) => readdirSync(directory).map((name) => join(directory, name)))
    .filter((path) => path.includes(own));
}
