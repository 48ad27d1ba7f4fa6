import type { PluginInfo, PluginRecord } from "@berth/core/introspection";
import type { Logger } from "@berth/core/log";
import type { Platform } from "@berth/oci";
import { z } from "zod";

import type { PluginType } from "./plugin-type.ts";
import type { Requirements, Resolved } from "./requirement.ts";

/** What introspection shows of a plugin; `init` fills it in. */
export interface PluginMeta {
  platforms: Platform[];
  readonly exports: Map<string, string>;
  readonly capabilities: string[];
  /** Answers questions about the plugin beyond its record; without it there are none. */
  info?: PluginInfo;
}

/** Facts of the daemon that every plugin may need. */
export interface HostFacts {
  readonly grpcAddress: string;
  readonly ttrpcAddress: string;
  /** What is known of all plugins, in order of initialisation; grows during boot. */
  readonly records: readonly PluginRecord[];
  /** The `timeouts` of the configuration, in milliseconds, by their names `io.containerd.timeout.…`; all that have a default are there. */
  readonly timeouts: ReadonlyMap<string, number>;
  /** Stops the daemon, with `error` as the reason: for a plugin that can no longer keep its promises, as after a failed fsync of a database. */
  readonly fatal: (error: Error) => void;
}

/** What `init` is given. */
export interface InitContext<R extends Requirements, C> {
  readonly plugins: Resolved<R>;
  readonly config: C;
  /** `<root>/<type>.<id>`; the plugin makes it when it needs it. */
  readonly rootDir: string;
  /** `<state>/<type>.<id>`; the plugin makes it when it needs it. */
  readonly stateDir: string;
  readonly host: HostFacts;
  readonly meta: PluginMeta;
  /** Released in reverse order when the daemon stops, and at once when `init` throws. */
  readonly resources: AsyncDisposableStack;
  /** Aborted when the daemon stops, during boot too. */
  readonly signal: AbortSignal;
  readonly log: Logger;
}

/** A plugin as the boot takes it: which types went into it no longer matters. */
export interface Plugin {
  readonly type: PluginType<unknown>;
  readonly id: string;
  readonly requires: Requirements;
  readonly config: z.ZodType;
  init(context: InitContext<Requirements, unknown>): unknown;
}

/** What {@link definePlugin} takes. */
export interface PluginDefinition<T, R extends Requirements, C> {
  readonly type: PluginType<T>;
  readonly id: string;
  readonly requires?: R;
  /** Schema of the plugin's table; it must accept `{}`, whose result is the default configuration. */
  readonly config?: z.ZodType<C>;
  /**
   * This makes the instance. Throw `skipPlugin(reason)` when the machine lacks what the plugin needs; any other error is a failure.
   * Either is recorded, and the daemon goes on.
   */
  init(context: InitContext<R, C>): T | Promise<T>;
}

/** This defines a plugin; nothing is registered anywhere: put the result in the list that is booted. */
export function definePlugin<T, R extends Requirements = Record<never, never>, C = Record<string, never>>(
  definition: PluginDefinition<T, R, C>,
): Plugin {
  return {
    type: definition.type,
    id: definition.id,
    requires: definition.requires ?? {},
    config: definition.config ?? z.object({}),
    // The boot resolves exactly `requires` and parses with exactly `config`, so the context has the types that init asks for.
    init: (context) => definition.init(context as InitContext<R, C>),
  };
}
