import { appendFileSync, existsSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";

const ROOT = "/sys/fs/cgroup";

/** This moves a process into a cgroup, which is made where it is missing: in the unified tree or in every hierarchy of v1. */
export function joinCgroup(pid: number, cgroup: string): void {
  for (const hierarchy of hierarchies()) {
    const directory = join(hierarchy, join("/", cgroup));
    mkdirSync(directory, { recursive: true });
    appendFileSync(join(directory, "cgroup.procs"), String(pid));
  }
}

function hierarchies(): readonly string[] {
  if (existsSync(join(ROOT, "cgroup.controllers"))) return [ROOT];
  return readdirSync(ROOT)
    .map((name) => join(ROOT, name))
    .filter((directory) => existsSync(join(directory, "cgroup.procs")));
}
