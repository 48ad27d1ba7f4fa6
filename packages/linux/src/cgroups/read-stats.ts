import { existsSync } from "node:fs";

import { notFound } from "@berth/errors";

import type { Cgroup } from "./cgroup.ts";
import { type CgroupStatsV1, readStatsV1 } from "./stats-v1.ts";
import { type CgroupStatsV2, readStatsV2 } from "./stats-v2.ts";

/** Statistics, and of which kind they are. */
export type CgroupStats =
  | { readonly version: 1; readonly metrics: CgroupStatsV1 }
  | { readonly version: 2; readonly metrics: CgroupStatsV2 };

/**
 * This reads the statistics of a cgroup; `metrics` initialises `io.containerd.cgroups.v1.Metrics` or `v2.Metrics` as it is.
 *
 * Synchronous: some twenty files of the kernel, about a millisecond.
 * @throws not_found - the cgroup is gone
 */
export function readCgroupStats(cgroup: Cgroup): CgroupStats {
  if (![...cgroup.directories.values()].some((directory) => existsSync(directory))) {
    throw notFound(`cgroup ${[...new Set(cgroup.directories.values())].join(", ")}`);
  }
  if (cgroup.version === 2) return { version: 2, metrics: readStatsV2(cgroup) };
  return { version: 1, metrics: readStatsV1(cgroup) };
}
