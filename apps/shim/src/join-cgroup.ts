import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

const ROOT = "/sys/fs/cgroup";
const CPUSET_FILES = ["cpuset.cpus", "cpuset.mems"];

/** This moves a process into a cgroup, which is made where it is missing: in the unified tree or in every hierarchy of v1. */
export function joinCgroup(pid: number, cgroup: string): void {
  for (const hierarchy of hierarchies()) {
    const directory = join(hierarchy, join("/", cgroup));
    makeCgroup(hierarchy, directory);
    appendFileSync(join(directory, "cgroup.procs"), String(pid));
  }
}

function hierarchies(): readonly string[] {
  if (existsSync(join(ROOT, "cgroup.controllers"))) return [ROOT];
  return readdirSync(ROOT)
    .map((name) => join(ROOT, name))
    .filter((directory) => existsSync(join(directory, "cgroup.procs")));
}

function makeCgroup(hierarchy: string, directory: string): void {
  if (directory === hierarchy) return;
  makeCgroup(hierarchy, dirname(directory));
  mkdirSync(directory, { recursive: true });
  // a new cpuset of v1 has no processors, and takes no process before it has some
  for (const file of CPUSET_FILES) {
    // the root of the unified tree has none
    if (!existsSync(join(directory, file)) || !existsSync(join(dirname(directory), file))) continue;
    if (readFileSync(join(directory, file), "utf8").trim() !== "") continue;
    const inherited = readFileSync(join(dirname(directory), file), "utf8");
    if (inherited.trim() !== "") writeFileSync(join(directory, file), inherited);
  }
}
