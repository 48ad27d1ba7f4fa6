import { readdir, readFile } from "node:fs/promises";
import { dirname, extname, join } from "node:path";

import type { CallOptions } from "@berth/core/any";
import { failedPrecondition, invalidArgument, systemErrorCode, wrapError } from "@berth/errors";

import type { NetworkConfig, PluginConfig } from "./network-config.ts";
import { parseNetworkList, parsePlugin, parseSingleNetwork } from "./network-config.ts";

const EXTENSIONS = new Set([".conf", ".conflist", ".json"]);

/** Options of {@link loadNetworks}. */
export interface LoadNetworksOptions extends CallOptions {
  /** So many are loaded, the first ones by the names of their files; 0 for all. */
  readonly maxNetworks: number;
}

/**
 * This reads the networks of a directory: files that end in `.conf`, `.conflist` or `.json`, in the order of their names. One that is broken fails the whole, unless it comes after
 * the last one that is wanted.
 *
 * @throws failed_precondition - there is none; invalid_argument - a broken one
 * @see containerd/go-cni opts.go, loadFromConfDir
 */
export async function loadNetworks(
  directory: string,
  { maxNetworks, signal }: LoadNetworksOptions,
): Promise<readonly NetworkConfig[]> {
  const files = await filesOf(directory, EXTENSIONS);
  if (files.length === 0) throw failedPrecondition(`there is no CNI network in ${directory}`);
  const networks: NetworkConfig[] = [];
  for (const file of maxNetworks > 0 ? files.slice(0, maxNetworks) : files) {
    signal?.throwIfAborted();
    networks.push(await loadNetwork(file, { signal }));
  }
  return networks;
}

/** This reads the network of one file. @throws invalid_argument - it is broken; not_found */
export async function loadNetwork(path: string, { signal }: CallOptions = {}): Promise<NetworkConfig> {
  try {
    const source = await readFile(path, { encoding: "utf8", signal });
    if (extname(path) !== ".conflist") return parseSingleNetwork(source);
    const list = parseNetworkList(source);
    const plugins = [...list.plugins, ...(await pluginsBeside(path, list))];
    if (plugins.length === 0) throw invalidArgument("it has no plugins");
    return { ...list, plugins };
  } catch (error) {
    throw wrapError(error, `load CNI network ${path}`);
  }
}

/** Since version 1.1 a network may be a directory of that name beside its list, with a file for each plugin. */
async function pluginsBeside(path: string, { name, onlyInlinedPlugins }: NetworkConfig): Promise<PluginConfig[]> {
  if (onlyInlinedPlugins) return [];
  const files = await filesOf(join(dirname(path), name), new Set([".conf"]));
  return await Promise.all(files.map(async (file) => parsePlugin(await readFile(file, "utf8"))));
}

async function filesOf(directory: string, extensions: ReadonlySet<string>): Promise<readonly string[]> {
  try {
    const entries = await readdir(directory, { withFileTypes: true });
    const files = entries.filter((entry) => !entry.isDirectory() && extensions.has(extname(entry.name)));
    return files
      .map((entry) => entry.name)
      .toSorted()
      .map((name) => join(directory, name));
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes(systemErrorCode(error) ?? "")) return [];
    throw wrapError(error, `list CNI networks of ${directory}`);
  }
}
