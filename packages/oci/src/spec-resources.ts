import { invalidArgument } from "@berth/errors";

import type { SpecOption, SpecResources } from "./spec-model.ts";
import { changeResources } from "./spec-model.ts";

const CFS_PERIOD_US = 100_000;

/** This limits memory, in bytes. */
export function withMemoryLimit(limit: number): SpecOption {
  return (spec) => changeResources(spec, (resources) => ({ ...resources, memory: { ...resources.memory, limit } }));
}

/** This limits processor time to so many processors, 0.5 being half of one. @throws invalid_argument - not above 0 */
export function withCpus(cpus: number): SpecOption {
  if (!(cpus > 0)) throw invalidArgument(`cpus must be above 0, not ${cpus}`);
  return withCpuQuota(Math.trunc(cpus * CFS_PERIOD_US), CFS_PERIOD_US);
}

/** This limits processor time to `quota` of each `period`, in microseconds. */
export function withCpuQuota(quota: number, period: number): SpecOption {
  return changeCpu({ quota, period });
}

/** This weighs the container against others that want the processor too; 1024 is usual. */
export function withCpuShares(shares: number): SpecOption {
  return changeCpu({ shares });
}

/** This binds the container to processors, as in `0-3,7`. */
export function withCpusetCpus(cpus: string): SpecOption {
  return changeCpu({ cpus });
}

/** This binds the container to memory nodes. */
export function withCpusetMems(mems: string): SpecOption {
  return changeCpu({ mems });
}

/** This limits the number of processes. */
export function withPidsLimit(limit: number): SpecOption {
  return (spec) => changeResources(spec, (resources) => ({ ...resources, pids: { limit } }));
}

function changeCpu(change: NonNullable<SpecResources["cpu"]>): SpecOption {
  return (spec) => changeResources(spec, (resources) => ({ ...resources, cpu: { ...resources.cpu, ...change } }));
}
