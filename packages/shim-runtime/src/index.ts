export type { Grouping } from "./environment.ts";
export { findExitRecord, removeExitRecord, writeExitRecord } from "./exit-record.ts";
export { parseShimFlags, type ShimFlags } from "./flags.ts";
export { groupNames, type GroupRequest } from "./grouping.ts";
export { Publisher, type PublisherOptions } from "./publisher.ts";
export {
  type DeadContainer,
  defineShim,
  type ExitRecord,
  type RuntimeFacts,
  runShim,
  type RunShimOptions,
  type ShimContext,
  type ShimDefinition,
  type ShimTasks,
} from "./run.ts";
