import type { Logger } from "@berth/core/log";
import type { MetadataStore } from "@berth/core/metadata";
import type { TaskRuntime } from "@berth/core/runtime";

/** What the tasks service needs. */
export interface TasksServiceOptions {
  readonly runtime: TaskRuntime;
  readonly metadata: MetadataStore;
  readonly log?: Logger;
}
