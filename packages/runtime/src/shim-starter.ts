import type { AnyValue, CallOptions } from "@berth/core/any";
import type { ShimEndpoint } from "@berth/core/shims";

import type { Bundle } from "./bundle.ts";
import type { RuntimeTimeouts } from "./runtime-timeouts.ts";
import type { ShimOutput } from "./shim-command.ts";
import type { DeleteLimits } from "./shim-deletes.ts";
import type { ShimConnection, ShimConnections } from "./shim-connection.ts";

/** What a start needs beside the bundle. */
export interface StartOptions extends CallOptions {
  readonly options?: AnyValue | undefined;
  /** A process of its own, whatever the grouping. */
  readonly alone?: boolean;
}

/** What the bundles of shims need of the shim manager. */
export interface ShimStarter {
  readonly connections: ShimConnections;
  readonly timeouts: RuntimeTimeouts;
  /** Shims of sandboxes, by `<namespace>/<id>`: tasks of these sandboxes go there. */
  readonly sandboxEndpoints: Map<string, ShimEndpoint>;
  /** This finds the binary of a runtime name or path; a name found once is remembered. @throws not_found, invalid_argument */
  resolve(runtime: string): Promise<string>;
  /**
   * This gives a bundle a shim: a place in a running one of ours, or a process of its own. It writes `shim-binary-path` and
   * `bootstrap.json`, and returns the connection, which the caller disposes.
   *
   * The signal does not reach a `start` that runs: killed half way it could leave a shim that nobody knows. Its deadline does.
   *
   * @throws unknown - it did not start, with what it printed
   * @throws unavailable - it ended before it could be spoken to
   * @throws deadline_exceeded - it took too long and was killed
   */
  start(bundle: Bundle, binary: string, start?: StartOptions): Promise<ShimConnection>;
  /** Whether an error of a start says that a shim of ours was about to end: the same can be asked of another. */
  endedEarly(binary: string, error: unknown): boolean;
  /** This runs `delete` of a binary for a bundle whose shim is dead; a few at a time, and several of a pool in one run. */
  runDelete(bundle: Bundle, binary: string, limits: DeleteLimits): Promise<ShimOutput>;
}
