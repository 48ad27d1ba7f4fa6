import { existsSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";

import { readMountInfo } from "../mount/mount-info.ts";
import { fsTypeName, statFs } from "../mount/stat-fs.ts";
import { parseFlat, readStat } from "./cgroup-files.ts";

/** How the cgroup file systems of this machine are laid out. */
export type CgroupMode = "v1" | "unified" | "hybrid";

/** The cgroup of a process. */
export interface Cgroup {
  readonly version: 1 | 2;
  /** Controller (v1: `memory`, `cpu`, …; the unified tree: empty text) → absolute directory. */
  readonly directories: ReadonlyMap<string, string>;
}

/** Where cgroups are mounted: by this place programs tell which version a machine has. */
export const CGROUP_ROOT = "/sys/fs/cgroup";

function isCgroup2(path: string): boolean {
  return existsSync(path) && fsTypeName(statFs(path).type) === "cgroup2";
}

/** This says how cgroups are mounted: v2 alone, v1 with an (often empty) v2 tree beside it, or v1 alone. */
export function cgroupMode(root = CGROUP_ROOT): CgroupMode {
  if (isCgroup2(root)) return "unified";
  return isCgroup2(join(root, "unified")) ? "hybrid" : "v1";
}

/** This parses /proc/<pid>/cgroup: controller (empty text for the unified tree) → path in its hierarchy. */
export function parseCgroupFile(text: string): Map<string, string> {
  const paths = new Map<string, string>();
  for (const line of text.split("\n")) {
    const match = /^\d+:([^:]*):(\/.*)$/.exec(line);
    if (!match) continue;
    const [, controllers = "", path = "/"] = match;
    for (const controller of controllers.split(",")) paths.set(controller, path);
  }
  return paths;
}

/**
 * This finds the cgroup of a process, by the mounts that this process sees.
 * @throws ENOENT, ESRCH - there is no such process
 */
export function cgroupOf(pid: number | "self"): Cgroup {
  const paths = parseCgroupFile(readFileSync(`/proc/${pid}/cgroup`, "utf8"));
  const isUnified = cgroupMode() === "unified";
  // beside it there may be other mounts, which are covered by it or elsewhere: they are not what this machine uses
  const mounts = readMountInfo().filter(({ mountPoint }) => !isUnified || mountPoint === CGROUP_ROOT);
  const directories = new Map<string, string>();
  for (const [controller, path] of paths) {
    const mount = mounts.find((candidate) =>
      controller === ""
        ? candidate.type === "cgroup2"
        : candidate.type === "cgroup" && candidate.superOptions.includes(controller),
    );
    // inside a container the mount shows a part of the hierarchy only
    if (mount) directories.set(controller, join(mount.mountPoint, relative(mount.root, path)));
  }
  return { version: isUnified ? 2 : 1, directories };
}

/** This returns how many processes of a cgroup the kernel's OOM killer has killed; 0 where nobody counts. */
export function oomKillCount(cgroup: Cgroup): number {
  const directory = cgroup.directories.get(cgroup.version === 2 ? "" : "memory");
  if (directory === undefined) return 0;
  const file = cgroup.version === 2 ? "memory.events" : "memory.oom_control";
  return Number(parseFlat(readStat(directory, file)).get("oom_kill") ?? 0n);
}
