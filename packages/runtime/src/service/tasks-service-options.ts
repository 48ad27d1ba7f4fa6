import type { DeprecationLog } from "@berth/core/introspection";
import type { Logger } from "@berth/core/log";
import type { MetadataStore } from "@berth/core/metadata";
import type { TaskRuntime } from "@berth/core/runtime";

import type { RuntimeTimeouts } from "../runtime-timeouts.ts";

/** What the tasks service needs. */
export interface TasksServiceOptions {
  readonly runtime: TaskRuntime;
  readonly metadata: MetadataStore;
  readonly deprecations?: DeprecationLog;
  readonly log?: Logger;
  /** How long shims may take to tell the state, and the metrics, of a task; containerd's limits by default. */
  readonly timeouts?: Pick<RuntimeTimeouts, "stateMs" | "statsMs">;
}
