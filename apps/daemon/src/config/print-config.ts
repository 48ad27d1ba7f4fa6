import type { Plugin } from "@berth/plugin-core";
import { parsePluginConfig, pluginUri } from "@berth/plugin-core";
import { stringify } from "smol-toml";

import type { DaemonConfig } from "./daemon-config.ts";

/** This writes a configuration as TOML, with the defaults of every plugin filled in. @throws invalid_argument - a plugin's table is wrong */
export function printConfig(config: DaemonConfig, plugins: readonly Plugin[]): string {
  const tables: Record<string, unknown> = {};
  for (const plugin of plugins.toSorted((a, b) => (pluginUri(a.type, a.id) < pluginUri(b.type, b.id) ? -1 : 1))) {
    const uri = pluginUri(plugin.type, plugin.id);
    const { value } = parsePluginConfig(plugin, config.plugins[uri]);
    if (Object.keys(value as object).length > 0) tables[uri] = value;
  }
  return stringify({ ...config, plugins: { ...config.plugins, ...tables } });
}
