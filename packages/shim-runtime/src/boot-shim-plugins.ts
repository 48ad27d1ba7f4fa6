import { invalidArgument, wrapError } from "@berth/errors";
import {
  bootPlugins,
  definePlugin,
  one,
  type Plugin,
  type PluginGraph,
  type ServiceRegistration,
} from "@berth/plugin-core";
import { TtrpcPlugin } from "@berth/plugin-core/types";

import type { ShimContext } from "./define-shim.ts";
import { EventPublisherPlugin, ShimPlugin } from "./plugin-types.ts";

/** What the plugins of a shim stand on. */
export interface ShimPluginOptions {
  readonly context: ShimContext;
  /** The services of the tasks. */
  readonly services: readonly ServiceRegistration[];
  readonly plugins: readonly Plugin[];
  /** Root and state of each plugin are below the bundle that the shim was started for. */
  readonly bundle: string;
  readonly grpcAddress: string;
  readonly ttrpcAddress: string;
  /** Ends the shim. */
  readonly fatal: (error: Error) => void;
}

/**
 * This boots what a shim author has added, on top of the shim's own publisher (`io.containerd.event.v1.publisher`), context
 * (`io.containerd.internal.v1.shim`) and task service (`io.containerd.ttrpc.v1.task`). The caller disposes the graph.
 *
 * @throws - what the first plugin threw that failed: unlike a daemon, a shim without one of its parts is none. Skipping is fine
 */
export async function bootShimPlugins(options: ShimPluginOptions): Promise<PluginGraph> {
  const { context, bundle, grpcAddress, ttrpcAddress, fatal } = options;
  await using undo = new AsyncDisposableStack();
  const graph = undo.use(
    await bootPlugins({
      plugins: [...ownPlugins(options), ...options.plugins],
      root: bundle,
      state: bundle,
      grpcAddress,
      ttrpcAddress,
      log: context.log,
      signal: new AbortController().signal,
      fatal,
    }),
  );
  for (const { type, id, status, error } of graph.records) {
    if (status === "failed") throw wrapError(error, `shim plugin ${type}.${id}`);
  }
  undo.move();
  return graph;
}

function ownPlugins({ context, services }: ShimPluginOptions): Plugin[] {
  return [
    definePlugin({ type: EventPublisherPlugin, id: "publisher", init: () => context }),
    definePlugin({ type: ShimPlugin, id: "shim", init: () => context }),
    definePlugin({
      type: TtrpcPlugin,
      id: "task",
      requires: { publisher: one(EventPublisherPlugin, "publisher"), shim: one(ShimPlugin, "shim") },
      init: () => services,
    }),
  ];
}

/** This returns the services of all plugins, each once. @throws invalid_argument - two plugins serve the same */
export function servicesOf(graph: PluginGraph): ServiceRegistration[] {
  const services = [...graph.loaded(TtrpcPlugin).values()].flat();
  const names = services.map(({ service }) => service.typeName);
  const double = names.find((name, index) => names.indexOf(name) !== index);
  if (double !== undefined) throw invalidArgument(`service ${double} has two plugins`);
  return services;
}
