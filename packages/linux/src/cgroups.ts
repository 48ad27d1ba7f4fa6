export { type Cgroup, type CgroupMode, cgroupMode, cgroupOf, oomKillCount, parseCgroupFile } from "./cgroups/cgroup.ts";
export { type CgroupHierarchy, cgroupHierarchies } from "./cgroups/cgroup-hierarchies.ts";
export { joinCgroup, type JoinCgroupOptions } from "./cgroups/join-cgroup.ts";
export { type RdmaEntry } from "./cgroups/cgroup-files.ts";
export { type CgroupStats, readCgroupStats } from "./cgroups/read-stats.ts";
export { type BlkIOEntryV1, type CgroupStatsV1, type MemoryEntryV1 } from "./cgroups/stats-v1.ts";
export { type CgroupStatsV2, type PsiData, type PsiStats } from "./cgroups/stats-v2.ts";
