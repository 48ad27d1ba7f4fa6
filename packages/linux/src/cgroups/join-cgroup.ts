import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { systemError } from "../system-error.ts";
import { cgroupMode } from "./cgroup.ts";
import { cgroupHierarchies } from "./cgroup-hierarchies.ts";

const EINVAL = 22;
const EEXIST = "EEXIST";

/** Who is moved, and where to it may be. */
export interface JoinCgroupOptions {
  /** Default: this process. */
  readonly pid?: number;
  /** The path may be that of the root too, where nothing limits. */
  readonly root?: boolean;
}

/**
 * This moves a process, with all its threads, into a cgroup, which is made when it is not there: on version 1 in every hierarchy, named ones
 * too; on version 2 in the only one. What the process starts later begins there. Nobody removes the cgroup.
 *
 * @param path from the root of the hierarchies, `/daemons/berth` for one
 * @throws EINVAL - the path leads out of the hierarchies, or to their root where that is not wanted
 * @throws EACCES, EROFS, EBUSY, … - of the first hierarchy that refuses; those before it have taken the process
 * @see containerd cmd/containerd/server/server_linux.go, apply
 */
export function joinCgroup(path: string, { pid = process.pid, root = false }: JoinCgroupOptions = {}): void {
  const names = path.split("/").filter((name) => name !== "" && name !== ".");
  const isRoot = names.length === 0;
  if ((isRoot && !root) || names.includes("..") || path.includes("\0")) throw systemError(EINVAL, "mkdir", path);
  // a unified tree beside those of version 1 has no controllers, and nobody is moved there
  const version = cgroupMode() === "unified" ? 2 : 1;
  for (const hierarchy of cgroupHierarchies().filter((candidate) => candidate.version === version)) {
    let directory = hierarchy.mountPoint;
    for (const name of names) {
      const parent = directory;
      directory = join(parent, name);
      makeDirectory(directory);
      if (hierarchy.hasCpuset) inheritCpuset(parent, directory);
    }
    writeFileSync(join(directory, "cgroup.procs"), String(pid));
  }
}

function makeDirectory(path: string): void {
  try {
    mkdirSync(path, { mode: 0o755 });
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === EEXIST)) throw error;
  }
}

/** A cgroup of version 1 without processors and memory nodes takes no process, and begins without. */
function inheritCpuset(parent: string, child: string): void {
  for (const file of ["cpuset.cpus", "cpuset.mems"]) {
    if (readFileSync(join(child, file), "utf8").trim() === "") {
      writeFileSync(join(child, file), readFileSync(join(parent, file)));
    }
  }
}
