import { invalidArgument } from "@berth/errors";

import type { Plugin } from "./define-plugin.ts";
import { pluginUri } from "./plugin-type.ts";

/**
 * This orders plugins so that each comes after everything that it requires; otherwise the order given is kept.
 *
 * @throws invalid_argument - two plugins of the same name, or a loop; the message shows the whole loop
 * @see containerd plugin registry, Graph
 */
export function orderPlugins(plugins: readonly Plugin[]): Plugin[] {
  const seen = new Set<string>();
  for (const { type, id } of plugins) {
    const uri = pluginUri(type, id);
    if (seen.has(uri)) throw invalidArgument(`plugin ${uri} is there twice`);
    seen.add(uri);
  }
  const ordered = new Set<Plugin>();
  const path: Plugin[] = [];
  const visit = (plugin: Plugin): void => {
    if (ordered.has(plugin)) return;
    if (path.includes(plugin)) throw invalidArgument(`plugins require each other: ${loopText(path, plugin)}`);
    path.push(plugin);
    for (const { type, id } of Object.values(plugin.requires)) {
      for (const candidate of plugins) {
        if (candidate.type.name === type.name && (id === undefined || candidate.id === id)) visit(candidate);
      }
    }
    path.pop();
    ordered.add(plugin);
  };
  for (const plugin of plugins) visit(plugin);
  return [...ordered];
}

function loopText(path: readonly Plugin[], again: Plugin): string {
  return [...path.slice(path.indexOf(again)), again].map(({ type, id }) => pluginUri(type, id)).join(" → ");
}
