import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

import { systemErrorCode } from "@berth/errors";

import { CGROUPS } from "./cgroup-directories.ts";

/**
 * This passes every controller of the unified tree down to where the cgroup of a specification will be, and makes what is missing above
 * it: statistics and limits come from controllers that a parent has passed on. Without a unified tree it does nothing.
 *
 * What a parent does not pass on, since it has processes of its own, is left so: the runtime enables what it needs, or says that it cannot.
 * @see containerd cgroups cgroup2/manager.go ToggleControllers
 */
export function enableControllers(cgroupsPath: string | undefined, root = CGROUPS): void {
  // systemd sees to its own tree, and what is relative is the runtime's to find
  if (!cgroupsPath?.startsWith("/")) return;
  const controllers = readControllers(root);
  const parents = parentsOf(join("/", cgroupsPath));
  for (const parent of controllers.length === 0 ? [] : parents) {
    const directory = join(root, parent);
    mkdirSync(directory, { recursive: true, mode: 0o755 });
    for (const controller of controllers) enable(directory, controller);
  }
}

function readControllers(root: string): readonly string[] {
  try {
    return readFileSync(join(root, "cgroup.controllers"), "utf8").split(/\s+/).filter(Boolean);
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return [];
    throw error;
  }
}

/** From the root down. */
function parentsOf(path: string): readonly string[] {
  const parent = dirname(path);
  return parent === path ? [] : [...parentsOf(parent), parent];
}

/** One at a time: the kernel takes all words of a write or none. */
function enable(directory: string, controller: string): void {
  try {
    writeFileSync(join(directory, "cgroup.subtree_control"), `+${controller}`, { flag: "r+" });
  } catch {
    // not passed on to here, or kept by processes of this cgroup
  }
}
