export { cleanUpContainer, type LeftContainer } from "./clean-up.ts";
export type { CheckpointArguments } from "./criu.ts";
export { describeRuntime, type RuntimeDescription } from "./features.ts";
export {
  type CreateOptions,
  type RestoreOptions,
  RuncDriver,
  type RuncDriverOptions,
  type RuncExecOptions,
  type StartOptions,
} from "./runc-driver.ts";
export { DEFAULT_RUNC_ROOT, parseRuncOptions, runcRoot } from "./runtime-options.ts";
export { parseStdioTarget, type StdioTarget } from "./stdio/stdio-uri.ts";
export { createRuncTasks, type RuncTasks } from "./task-service.ts";
export type { ProcessExitRecord, RuncTasksContext } from "./tasks-context.ts";
