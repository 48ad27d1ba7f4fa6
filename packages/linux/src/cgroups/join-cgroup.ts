import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { readMountInfo } from "../mount/mount-info.ts";
import { systemError } from "../system-error.ts";
import { cgroupMode } from "./cgroup.ts";

const EINVAL = 22;
const EEXIST = "EEXIST";

/** A hierarchy of cgroups. */
interface Hierarchy {
  readonly mountPoint: string;
  readonly hasCpuset: boolean;
}

/**
 * This moves a process, with all its threads, into a cgroup, which is made when it is not there: on version 1 in every hierarchy, named ones
 * too; on version 2 in the only one. What the process starts later begins there. Nobody removes the cgroup.
 *
 * @param path from the root of the hierarchies, `/daemons/berth` for one
 * @throws EINVAL - the path leads out of the hierarchies, or to their root
 * @throws EACCES, EROFS, EBUSY, … - of the first hierarchy that refuses; those before it have taken the process
 * @see containerd cmd/containerd/server/server_linux.go, apply
 */
export function joinCgroup(path: string, pid: number = process.pid): void {
  const names = path.split("/").filter((name) => name !== "" && name !== ".");
  if (names.length === 0 || names.includes("..") || path.includes("\0")) throw systemError(EINVAL, "mkdir", path);
  for (const hierarchy of hierarchies()) {
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

function hierarchies(): readonly Hierarchy[] {
  const type = cgroupMode() === "unified" ? "cgroup2" : "cgroup";
  return readMountInfo()
    .filter((mount) => mount.type === type)
    .map(({ mountPoint, superOptions }) => ({ mountPoint, hasCpuset: superOptions.includes("cpuset") }));
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
