import { invalidArgument } from "@berth/errors";
import type { SpecOption } from "@berth/oci/spec";
import {
  withCpuQuota,
  withCpus,
  withCpusetCpus,
  withCpusetMems,
  withCpuShares,
  withMemoryLimit,
  withRlimit,
} from "@berth/oci/spec";

import type { FlagValues } from "../cli/flags.ts";
import { integerFlag, numberFlag, stringFlag } from "../cli/flags.ts";
import type { ContainerFlags } from "./container-flags.ts";

const DEFAULT_CPU_PERIOD_US = 100_000;

/** Limits that only `run` has flags for. */
export const LIMIT_FLAGS = {
  cpus: numberFlag("processors to use at most, e.g. 0.5"),
  "cpu-shares": integerFlag("weight when processors are scarce", { initial: 1024 }),
  "cpuset-cpus": stringFlag("processors to run on, e.g. 0-3,7"),
  "cpuset-mems": stringFlag("memory nodes to use"),
  "rlimit-nofile": integerFlag("open files at most"),
} as const;

/** Values of {@link LIMIT_FLAGS}; absent where a command has no such flags. */
export type LimitFlags = Partial<FlagValues<typeof LIMIT_FLAGS>>;

/** This makes the limits that the flags ask for. @throws invalid_argument - out of range, or two flags for one limit */
export function limitOptions(flags: ContainerFlags & LimitFlags): SpecOption[] {
  const { cpus = 0, "cpu-quota": quota, "cpu-period": period, "memory-limit": memory } = flags;
  for (const [name, value] of Object.entries({ "memory-limit": memory, "cpu-period": period, cpus })) {
    if (value < 0) throw invalidArgument(`${name} must not be negative, got ${value}`);
  }
  const hasQuota = quota !== -1 || period !== 0;
  if (cpus > 0 && hasQuota) throw invalidArgument("cpus and quota/period should be used separately");
  const options: SpecOption[] = [];
  if (memory > 0) options.push(withMemoryLimit(memory));
  if (cpus > 0) options.push(withCpus(cpus));
  if (hasQuota) options.push(withCpuQuota(quota, period === 0 ? DEFAULT_CPU_PERIOD_US : period));
  const { "cpu-shares": shares = 0, "cpuset-cpus": cpuset = "", "cpuset-mems": mems = "" } = flags;
  if (shares > 0) options.push(withCpuShares(shares));
  if (cpuset !== "") options.push(withCpusetCpus(cpuset));
  if (mems !== "") options.push(withCpusetMems(mems));
  const files = flags["rlimit-nofile"] ?? 0;
  if (files > 0) options.push(withRlimit({ type: "RLIMIT_NOFILE", hard: files, soft: files }));
  return options;
}
