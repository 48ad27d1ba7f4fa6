export type { CheckpointContainerOptions, CheckpointTaskOptions } from "./checkpoint-container.ts";
export { checkpointContainer, checkpointTask } from "./checkpoint-container.ts";
export type { RestoreContainerOptions, RestoredContainer } from "./restore-container.ts";
export { restoreContainer } from "./restore-container.ts";
