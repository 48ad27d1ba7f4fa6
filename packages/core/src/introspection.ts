import type { Platform } from "@berth/oci";

import type { AnyValue, CallOptions } from "./any.ts";

/**
 * Answers a question about a plugin, in a message of its own kind.
 *
 * @throws unimplemented - it does not know such questions; invalid_argument - the question makes no sense
 */
export type PluginInfo = (question: AnyValue, options?: CallOptions) => Promise<AnyValue>;

/** What is known of a plugin after boot, in the order of initialisation. */
export interface PluginRecord {
  readonly type: string;
  readonly id: string;
  /** Types that it requires. */
  readonly requires: readonly string[];
  readonly platforms: readonly Platform[];
  readonly exports: ReadonlyMap<string, string>;
  readonly capabilities: readonly string[];
  /** `loaded`, or why not. */
  readonly status: "loaded" | "skipped" | "failed";
  /** Set when skipped or failed. */
  readonly error?: unknown;
  /** There where the plugin answers questions beyond this record. */
  readonly info?: PluginInfo;
}

/** A feature in use that will go away. */
export interface DeprecationWarning {
  readonly id: string;
  readonly message: string;
  readonly lastOccurrence: number;
}

/** Counts the use of features that will go away. */
export interface DeprecationLog {
  emit(id: string, message: string): void;
  list(): readonly DeprecationWarning[];
}
