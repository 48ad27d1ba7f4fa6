export type { CreateContainerOptions, SpecContext } from "./create-container.ts";
export { createContainer, removeContainer } from "./create-container.ts";
export type { AttachedIo, RunOptions, StartExecOptions, StartTaskOptions } from "./run-task.ts";
export { nullIo, run, RunningProcess, startExec, startTask } from "./run-task.ts";
