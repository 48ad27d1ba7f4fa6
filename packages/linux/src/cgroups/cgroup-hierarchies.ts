import { readMountInfo } from "../mount/mount-info.ts";
import { CGROUP_ROOT, cgroupMode } from "./cgroup.ts";

/** A hierarchy of cgroups. */
export interface CgroupHierarchy {
  readonly mountPoint: string;
  readonly version: 1 | 2;
  readonly hasCpuset: boolean;
}

let hierarchies: readonly CgroupHierarchy[] | undefined;

/**
 * This returns the hierarchies of this machine, each once: the unified tree alone, or those of version 1, named ones too, with a unified
 * tree that there may be beside them. They are looked up once: nobody mounts them anew while something runs in them.
 */
export function cgroupHierarchies(): readonly CgroupHierarchy[] {
  return (hierarchies ??= findHierarchies());
}

function findHierarchies(): readonly CgroupHierarchy[] {
  const isUnified = cgroupMode() === "unified";
  const types = isUnified ? ["cgroup2"] : ["cgroup", "cgroup2"];
  const mounts = readMountInfo().filter(
    ({ type, mountPoint }) => types.includes(type) && (!isUnified || mountPoint === CGROUP_ROOT),
  );
  return mounts
    .filter(
      (mount, at) => mounts.findIndex(({ major, minor }) => major === mount.major && minor === mount.minor) === at,
    )
    .map(({ mountPoint, type, superOptions }) => ({
      mountPoint,
      version: type === "cgroup2" ? 2 : 1,
      hasCpuset: type === "cgroup" && superOptions.includes("cpuset"),
    }));
}
