import type { Logger } from "@berth/core/log";

import type { RuntimeTimeouts } from "./runtime-timeouts.ts";

/** How shim processes are distributed over containers; the words are those of `BERTH_SHIM_GROUPING`. */
export type ShimGrouping = "pool" | "sandbox" | "container";

/** Options of `LocalShimManager`. */
export interface ShimManagerOptions {
  readonly grpcAddress: string;
  readonly ttrpcAddress: string;
  /** Binary for the runtimes `io.containerd.runc.v2` and `io.containerd.berth.v2`. */
  readonly defaultShim: string;
  /** Whether the default shim is berth's own, which is asked for a place before a process is started. */
  readonly pooling?: boolean;
  readonly grouping?: ShimGrouping;
  readonly maxContainersPerShim?: number;
  /** Where berth's own shims have their sockets; foreign shims are told only what `socketDir` says. */
  readonly poolSocketDir?: string;
  readonly socketDir?: string;
  /** Further environment of shims, `KEY=value`. */
  readonly env?: readonly string[];
  /** What old shims run to publish an event. */
  readonly publishBinary?: string;
  readonly daemonVersion?: string;
  readonly debug?: boolean;
  readonly log?: Logger;
  /** How long a `start` may take; 30 s by default. */
  readonly startTimeoutMs?: number;
  /** All other limits; containerd's by default. */
  readonly timeouts?: RuntimeTimeouts;
}
