import type { Platform } from "@berth/oci";

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
