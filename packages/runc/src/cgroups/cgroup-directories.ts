import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { systemErrorCode } from "@berth/errors";
import { cgroupHierarchies } from "@berth/linux/cgroups";

/** Where the hierarchies are mounted. */
export const CGROUPS = "/sys/fs/cgroup";

/**
 * This returns where the cgroup of a specification is or would be, in every hierarchy; nothing for the forms whose place only the
 * runtime knows: systemd's `slice:prefix:name`, and what is relative to its own cgroup.
 */
export function cgroupDirectories(cgroupsPath: string | undefined): readonly string[] {
  // joined to the root, no `..` leads out of it
  const path = cgroupsPath?.startsWith("/") ? join("/", cgroupsPath) : "/";
  if (path === "/") return [];
  return cgroupHierarchies().map(({ mountPoint }) => join(mountPoint, path));
}

/** This returns a cgroup and all below it, parents first; nothing where it is not. */
export function cgroupTree(directory: string): readonly string[] {
  // asked for a dozen that are not there whenever a container is made: an error each would take longer than all the looking
  if (!existsSync(directory)) return [];
  try {
    const below = readdirSync(directory, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    return [directory, ...below.flatMap(({ name }) => cgroupTree(join(directory, name)))];
  } catch (error) {
    if (isGone(error)) return [];
    throw error;
  }
}

/** This returns the processes of one cgroup that this process can name; none where it is not. */
export function cgroupProcesses(directory: string): readonly number[] {
  try {
    const lines = readFileSync(join(directory, "cgroup.procs"), "utf8").split("\n");
    // 0 stands for a process outside of the own pid namespace
    return lines.map(Number).filter((pid) => pid > 0);
  } catch (error) {
    // a threaded cgroup of v2 does not tell
    if (isGone(error) || systemErrorCode(error) === "EOPNOTSUPP") return [];
    throw error;
  }
}

/** Whether a cgroup went away, also while it was being read. */
export function isGone(error: unknown): boolean {
  const code = systemErrorCode(error);
  return code === "ENOENT" || code === "ENODEV";
}
