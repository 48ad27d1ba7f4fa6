import { join } from "node:path";

import type { PluginRecord } from "@berth/core/introspection";
import type { Logger } from "@berth/core/log";
import { failedPrecondition, invalidArgument, messageOf, notFound, wrapError } from "@berth/errors";

import type { HostFacts, InitContext, Plugin, PluginMeta } from "./define-plugin.ts";
import { parsePluginConfig } from "./plugin-config.ts";
import { orderPlugins } from "./plugin-order.ts";
import type { PluginType } from "./plugin-type.ts";
import { pluginUri } from "./plugin-type.ts";
import type { Requirement, Requirements } from "./requirement.ts";
import { SkipPluginError } from "./skip-plugin.ts";

/** What {@link bootPlugins} needs to know. */
export interface BootOptions {
  readonly plugins: readonly Plugin[];
  /** URIs of plugins to leave out. */
  readonly disabled?: readonly string[];
  /** URIs of plugins without which the boot fails. */
  readonly required?: readonly string[];
  /** Tables of the configuration file, by plugin URI. */
  readonly config?: ReadonlyMap<string, unknown>;
  readonly root: string;
  readonly state: string;
  readonly grpcAddress: string;
  readonly ttrpcAddress: string;
  /** Time limits, in milliseconds, by their names `io.containerd.timeout.…`. */
  readonly timeouts?: ReadonlyMap<string, number>;
  readonly log: Logger;
  /** Stops the boot between two plugins, and is passed on to each. */
  readonly signal: AbortSignal;
  /** Called by a plugin that can no longer keep its promises; the daemon must stop. */
  readonly fatal: (error: Error) => void;
}

/**
 * Booted plugins. Dispose it to release them in reverse order of initialisation; a plugin that fails to stop is logged and
 * does not keep the others from stopping.
 */
export interface PluginGraph extends AsyncDisposable {
  readonly records: readonly PluginRecord[];
  /** This returns the loaded plugins of a type by id, in order of initialisation. */
  loaded<T>(type: PluginType<T>): ReadonlyMap<string, T>;
}

/**
 * This initialises plugins in dependency order. A plugin that throws is recorded and the others go on.
 *
 * @throws invalid_argument - a loop, a doubled or badly named plugin
 * @throws failed_precondition - a required plugin was left out, skipped or failed; all that was loaded has been released
 * @throws canceled - the signal; all that was loaded has been released
 */
export async function bootPlugins(options: BootOptions): Promise<PluginGraph> {
  const disabled = uriSet(options.disabled ?? [], "disabled_plugins");
  const required = uriSet(options.required ?? [], "required_plugins");
  const plugins = orderPlugins(options.plugins.filter(({ type, id }) => !disabled.has(pluginUri(type, id))));
  await using stack = new AsyncDisposableStack();
  const graph = stack.use(new Graph(options, new AsyncDisposableStack()));
  for (const plugin of plugins) {
    options.signal.throwIfAborted();
    await graph.load(plugin);
    const uri = pluginUri(plugin.type, plugin.id);
    const record = graph.records.at(-1);
    if (required.delete(uri) && record?.status !== "loaded") {
      throw failedPrecondition(`required plugin ${uri} did not load: ${messageOf(record?.error)}`, {
        cause: record?.error,
      });
    }
  }
  if (required.size > 0) throw failedPrecondition(`required plugin ${JSON.stringify([...required])} not included`);
  stack.move();
  return graph;
}

function uriSet(uris: readonly string[], key: string): Set<string> {
  for (const uri of uris) {
    if (!uri.includes("."))
      throw invalidArgument(`${key}: invalid plugin ${JSON.stringify(uri)}, expected <type>.<id>`);
  }
  return new Set(uris);
}

class Graph implements PluginGraph {
  readonly #options: BootOptions;
  readonly #records: PluginRecord[] = [];
  readonly #instances = new Map<string, Map<string, unknown>>();
  readonly #stack: AsyncDisposableStack;

  constructor(options: BootOptions, stack: AsyncDisposableStack) {
    this.#options = options;
    this.#stack = stack;
  }

  get records(): readonly PluginRecord[] {
    return this.#records;
  }

  loaded<T>(type: PluginType<T>): ReadonlyMap<string, T> {
    // Instances are filed under the name of the type that their definition was checked against.
    return (this.#instances.get(type.name) ?? new Map()) as ReadonlyMap<string, T>;
  }

  async load(plugin: Plugin): Promise<void> {
    const uri = pluginUri(plugin.type, plugin.id);
    const log = this.#options.log.with({ module: uri });
    const meta: PluginMeta = { platforms: [], exports: new Map(), capabilities: [] };
    log.info("loading plugin", { id: uri, type: plugin.type.name });
    let outcome: Pick<PluginRecord, "status" | "error">;
    try {
      await this.#init(plugin, meta, log);
      outcome = { status: "loaded" };
    } catch (error) {
      const skipped = error instanceof SkipPluginError;
      if (skipped) log.info("skip loading plugin", { error: messageOf(error) });
      else log.warn("failed to load plugin", { error: messageOf(error) });
      outcome = { status: skipped ? "skipped" : "failed", error };
    }
    this.#records.push({
      type: plugin.type.name,
      id: plugin.id,
      requires: [...new Set(Object.values(plugin.requires).map(({ type }) => type.name))],
      ...meta,
      ...outcome,
    });
  }

  async #init(plugin: Plugin, meta: PluginMeta, log: Logger): Promise<void> {
    const { root, state, grpcAddress, ttrpcAddress, signal, config, fatal, timeouts = new Map() } = this.#options;
    const uri = pluginUri(plugin.type, plugin.id);
    const { value, unknownKeys } = parsePluginConfig(plugin, config?.get(uri));
    for (const key of unknownKeys) log.warn("ignoring unknown key in the configuration", { key });
    const host: HostFacts = { grpcAddress, ttrpcAddress, records: this.#records, timeouts, fatal };
    await using resources = new AsyncDisposableStack();
    const context: InitContext<Requirements, unknown> = {
      plugins: this.#resolve(plugin),
      config: value,
      rootDir: join(root, uri),
      stateDir: join(state, uri),
      host,
      meta,
      resources,
      signal,
      log,
    };
    const instance = await plugin.init(context);
    const release = resources.move();
    this.#stack.defer(async () => {
      log.debug("stopping plugin");
      await release
        .disposeAsync()
        .catch((error: unknown) => log.error("failed to stop plugin", { error: messageOf(error) }));
    });
    const ofType = this.#instances.get(plugin.type.name) ?? new Map<string, unknown>();
    this.#instances.set(plugin.type.name, ofType.set(plugin.id, instance));
  }

  #resolve(plugin: Plugin): Readonly<Record<string, unknown>> {
    return Object.fromEntries(
      Object.entries(plugin.requires).map(([name, requirement]) => {
        try {
          return [name, this.#find(requirement)];
        } catch (error) {
          throw wrapError(error, `requirement ${name}`);
        }
      }),
    );
  }

  #find({ type, mode, id }: Requirement<unknown>): unknown {
    const loaded = this.loaded(type);
    if (mode === "all") return loaded;
    if (id === undefined && loaded.size > 1) {
      const found = [...loaded.keys()].map((each) => pluginUri(type, each)).join(", ");
      throw failedPrecondition(
        `only one plugin of type ${type.name} can be used: list all but one of ${found} in disabled_plugins`,
      );
    }
    const instance = id === undefined ? loaded.values().next().value : loaded.get(id);
    if (instance !== undefined || mode === "optional") return instance;
    const wanted = id === undefined ? type.name : pluginUri(type, id);
    const failure = this.#records.find((record) => record.type === type.name && (id === undefined || record.id === id));
    if (failure?.error !== undefined) {
      throw wrapError(failure.error, `plugin ${failure.type}.${failure.id} is not loaded`);
    }
    throw notFound(`no plugin ${wanted} is loaded`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}
