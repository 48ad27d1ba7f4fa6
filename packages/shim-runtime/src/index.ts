export {
  type DeadContainer,
  defineShim,
  type ExitRecord,
  type RuntimeFacts,
  type ShimContext,
  type ShimDefinition,
  type ShimTasks,
} from "./define-shim.ts";
export { DEFAULT_SOCKET_DIR, type Grouping } from "./environment.ts";
export { findExitRecord, writeExitRecord } from "./exit-record.ts";
export { parseShimFlags, type ShimFlags } from "./flags.ts";
export { groupNames, type GroupRequest } from "./grouping.ts";
export { Publisher, type PublisherOptions } from "./publisher.ts";
export { runShim, type RunShimOptions } from "./run-shim.ts";
export { socketPath } from "./socket-file.ts";
