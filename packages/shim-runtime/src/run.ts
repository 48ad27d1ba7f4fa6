// What a shim's main file needs and nothing more: every other part of this package is loaded by the action that uses it.
export {
  type DeadContainer,
  defineShim,
  type ExitRecord,
  type RuntimeFacts,
  type ShimContext,
  type ShimDefinition,
  type ShimTasks,
} from "./define-shim.ts";
export { EventPublisherPlugin, type EventPublisher, ShimPlugin } from "./plugin-types.ts";
export { runShim, type RunShimOptions } from "./run-shim.ts";
