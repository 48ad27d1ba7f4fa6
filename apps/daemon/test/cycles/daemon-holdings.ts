import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { systemErrorCode } from "@berth/errors";
import { readMountInfo } from "@berth/linux/mount";

/** What a daemon and its shims hold, by kind: names where they tell something, else counts. */
export type Holdings = Readonly<Record<string, readonly string[] | number>>;

/** Whose they are. */
export interface HoldingsPlace {
  readonly pid: number;
  readonly root: string;
  readonly state: string;
  readonly namespace: string;
  /** Directory of the pipes of clients. */
  readonly pipes: string;
}

/** This looks at everything of tasks that could be left, but for memory and timers. */
export function holdingsOf({ pid, root, state, namespace, pipes }: HoldingsPlace): Holdings {
  const shims = shimsOf(state);
  const below = (path: string): boolean => path.startsWith(`${root}/`) || path.startsWith(`${state}/`);
  return {
    "descriptors of the daemon": descriptorsOf(pid).toSorted(),
    "descriptors of shims": shims.flatMap((shim) => descriptorsOf(shim)).toSorted(),
    "children of the daemon": childrenOf(pid).length,
    "children of shims": shims.flatMap((shim) => childrenOf(shim)).length,
    shims: shims.length,
    mounts: readMountInfo()
      .map(({ mountPoint }) => mountPoint)
      .filter((path) => below(path))
      .toSorted(),
    cgroups: cgroupsOf(namespace),
    // sockets, FIFOs, bundles, exit records and the state of the runtime among them
    state: list(state),
    snapshots: list(join(root, "io.containerd.snapshotter.v1.overlayfs", "snapshots")).length,
    work: list(join(root, "io.containerd.runtime.v2.task")),
    "temporary mounts": list(join(root, "tmpmounts")),
    pipes: list(pipes),
  };
}

/** This tells what is held afterwards and was not before, by kind; what was given back since then is none. */
export function leaksBetween(before: Holdings, after: Holdings): Holdings {
  const leaks: Record<string, readonly string[] | number> = {};
  for (const [kind, now] of Object.entries(after)) {
    const then = before[kind];
    if (typeof now === "number" || typeof then === "number") {
      if (Number(now) > Number(then)) leaks[kind] = Number(now) - Number(then);
      continue;
    }
    const more = withoutOnce(now, then ?? []);
    if (more.length > 0) leaks[kind] = more;
  }
  return leaks;
}

/** This takes each of `gone` out of `names` once. */
function withoutOnce(names: readonly string[], gone: readonly string[]): readonly string[] {
  const left = [...gone];
  return names.filter((name) => {
    const at = left.indexOf(name);
    if (at >= 0) left.splice(at, 1);
    return at < 0;
  });
}

/**
 * Anonymous memory of the daemon and its shims that is resident, in bytes: what they have allocated. Pages of the program and of the databases,
 * which the kernel reads and drops as it likes, swing by 12 MiB and say nothing of a leak.
 */
export function residentBytes({ pid, state }: HoldingsPlace): number {
  return [pid, ...shimsOf(state)].map((each) => residentOf(each)).reduce((sum, bytes) => sum + bytes, 0);
}

/** A shim may end meanwhile. */
function residentOf(pid: number): number {
  const [, kib = "0"] = /^RssAnon:\s+(\d+) kB$/m.exec(textOf(`/proc/${pid}/status`)) ?? [];
  return Number(kib) * 1024;
}

/** Serving shims have a socket below the state of their daemon. */
function shimsOf(state: string): number[] {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return pids.map(Number).filter((pid) => textOf(`/proc/${pid}/cmdline`).includes(`\0-socket\0${state}/`));
}

/** Kinds of descriptors, since which numbers they have says nothing. */
function descriptorsOf(pid: number): string[] {
  const directory = `/proc/${pid}/fdinfo`;
  return namesIn(directory).map((name) => kindOf(join(directory, name)));
}

function kindOf(path: string): string {
  try {
    return /^(eventfd|inotify|tfd|Pid)/m.exec(readFileSync(path, "utf8"))?.[1] ?? "other";
  } catch {
    return "gone";
  }
}

function childrenOf(pid: number): string[] {
  return namesIn(`/proc/${pid}/task`)
    .flatMap((task) => textOf(`/proc/${pid}/task/${task}/children`).trim().split(" "))
    .filter((child) => child !== "");
}

function cgroupsOf(namespace: string): string[] {
  const root = "/sys/fs/cgroup";
  return ["", ...readdirSync(root)]
    .map((name) => join(root, name, namespace))
    .filter((directory) => existsSync(directory))
    .flatMap((directory) => list(directory, 1).map((name) => join(directory, name)))
    .filter((path) => !path.includes("/cgroup.") && existsSync(join(path, "cgroup.procs")));
}

function list(directory: string, depth = Infinity): string[] {
  return namesIn(directory, depth > 1)
    .filter((path) => !path.includes("/rootfs/") && !path.includes("/fs/"))
    .toSorted();
}

/** What is removed while it is looked at, or a process that ends, has none. */
function namesIn(directory: string, recursive = false): string[] {
  try {
    return readdirSync(directory, { recursive, encoding: "utf8" });
  } catch (error) {
    if (!existsSync(directory)) return [];
    // something below went while it was walked
    if (systemErrorCode(error) === "ENOENT") return namesIn(directory, recursive);
    throw error;
  }
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
