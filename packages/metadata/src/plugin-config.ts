import { parseGoDuration } from "@berth/core/go-duration";
import { goDuration } from "@berth/plugin-core";
import { z } from "zod";

import type { GcScheduler, GcSchedulerOptions } from "./gc/scheduler.ts";

/** Table of `metadata.v1 bolt`. */
export const metadataConfig = z.strictObject({
  content_sharing_policy: z.enum(["shared", "isolated"]).default("shared"),
  /** Commits are answered before they are on disk: for tests of other things only. */
  no_sync: z.boolean().default(false),
});

/** Table of `gc.v1 scheduler`. */
export const schedulerConfig = z.strictObject({
  pause_threshold: z.number().default(0.02),
  deletion_threshold: z.int().default(0),
  mutation_threshold: z.int().default(100),
  schedule_delay: goDuration.default("0s"),
  startup_delay: goDuration.default("100ms"),
});

type SchedulerConfig = z.infer<typeof schedulerConfig>;

/** This returns the options of a scheduler that is configured so. */
export function schedulerOptions(config: SchedulerConfig): GcSchedulerOptions {
  return {
    pauseThreshold: config.pause_threshold,
    deletionThreshold: config.deletion_threshold,
    mutationThreshold: config.mutation_threshold,
    scheduleDelayMs: parseGoDuration(config.schedule_delay),
    startupDelayMs: parseGoDuration(config.startup_delay),
  };
}

/** This returns what introspection shows of a scheduler, under containerd's names. */
export function schedulerExports(
  config: SchedulerConfig,
  { options }: Pick<GcScheduler, "options">,
): ReadonlyMap<string, string> {
  return new Map([
    ["PauseThreshold", String(options.pauseThreshold)],
    ["DeletionThreshold", String(options.deletionThreshold)],
    ["MutationThreshold", String(options.mutationThreshold)],
    ["ScheduleDelay", options.scheduleDelayMs === 0 ? "0s" : config.schedule_delay],
  ]);
}
