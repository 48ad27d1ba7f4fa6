import { invalidArgument } from "@berth/errors";

import { CONFIG_VERSION } from "./daemon-config.ts";
import type { Table } from "./merge-config.ts";
import { isTable } from "./merge-config.ts";

/** Short names of version 1 and the plugins that they meant. */
const SHORT_NAMES: ReadonlyMap<string, string> = new Map([
  ["cri", "io.containerd.grpc.v1.cri"],
  ["opt", "io.containerd.internal.v1.opt"],
  ["restart", "io.containerd.internal.v1.restart"],
  ["diff-service", "io.containerd.service.v1.diff-service"],
  ["scheduler", "io.containerd.gc.v1.scheduler"],
  ["bolt", "io.containerd.metadata.v1.bolt"],
  ["linux", "io.containerd.runtime.v1.linux"],
  ["task", "io.containerd.runtime.v2.task"],
  ["cgroups", "io.containerd.monitor.v1.cgroups"],
  ["walking", "io.containerd.differ.v1.walking"],
  ...["overlayfs", "native", "btrfs", "zfs", "devmapper", "aufs"].map(
    (name) => [name, `io.containerd.snapshotter.v1.${name}`] as const,
  ),
]);

/** Plugins whose tables have a new name here: containerd's two layers `service.v1` and `grpc.v1` are one. */
const RENAMED: ReadonlyMap<string, string> = new Map([
  ["io.containerd.service.v1.diff-service", "io.containerd.grpc.v1.diff"],
  ["io.containerd.service.v1.tasks-service", "io.containerd.grpc.v1.tasks"],
  ["io.containerd.internal.v1.restart", "io.containerd.monitor.container.v1.restart"],
  ["io.containerd.monitor.v1.cgroups", "io.containerd.monitor.task.v1.cgroups"],
]);

/** Top-level tables before version 4, and the plugins that took them over. */
const SERVER_TABLES: ReadonlyMap<string, string> = new Map([
  ["grpc", "io.containerd.server.v1.grpc"],
  ["ttrpc", "io.containerd.server.v1.ttrpc"],
  ["metrics", "io.containerd.server.v1.metrics"],
]);

/** Keys of a table, and what they are called in the table of the plugin that took them over. */
const DEBUG_LISTENER: ReadonlyMap<string, string> = new Map(["address", "uid", "gid"].map((key) => [key, key]));
const GRPC_TCP_KEYS: ReadonlyMap<string, string> = new Map([
  ["tcp_address", "address"],
  ["tcp_tls_ca", "tls_ca"],
  ["tcp_tls_cert", "tls_cert"],
  ["tcp_tls_key", "tls_key"],
  ["tcp_tls_common_name", "tls_common_name"],
]);
const HISTOGRAM_KEY: ReadonlyMap<string, string> = new Map([["grpc_histogram", "grpc_histogram"]]);

/**
 * This brings a configuration of any version to the newest, in memory.
 *
 * @param place the file, for the error text
 * @throws invalid_argument - the version is no number, or newer than this daemon
 */
export function migrateConfig(config: Table, place: string): Table {
  const version = config["version"] ?? 1;
  if (typeof version !== "number" || !Number.isInteger(version) || version < 0) {
    throw invalidArgument(`${place}: version: expected a number, got ${JSON.stringify(version)}`);
  }
  if (version > CONFIG_VERSION) {
    throw invalidArgument(`${place}: version: ${version} is newer than the newest known one, ${CONFIG_VERSION}`);
  }
  const named = version < 2 ? expandNames(config) : config;
  const served = version < 4 ? moveServers(named) : named;
  return { ...renamePlugins(moveDebug(served)), version: CONFIG_VERSION };
}

function expandNames(config: Table): Table {
  const expand = (name: unknown): unknown => (typeof name === "string" ? (SHORT_NAMES.get(name) ?? name) : name);
  const list = (key: string) => (Array.isArray(config[key]) ? { [key]: config[key].map(expand) } : {});
  return { ...config, ...list("disabled_plugins"), ...list("required_plugins"), ...mapPlugins(config, SHORT_NAMES) };
}

function renamePlugins(config: Table): Table {
  return { ...config, ...mapPlugins(config, RENAMED) };
}

function mapPlugins(config: Table, names: ReadonlyMap<string, string>): Table {
  const { plugins } = config;
  if (!isTable(plugins)) return {};
  return {
    plugins: Object.fromEntries(Object.entries(plugins).map(([name, table]) => [names.get(name) ?? name, table])),
  };
}

/** Where the debug listener is stood beside the level of the log, and is read there in any version. */
function moveDebug(config: Table): Table {
  const debug = config["debug"];
  if (!isTable(debug)) return config;
  const [listener, rest] = split(debug, DEBUG_LISTENER);
  return { ...withPlugin(config, "io.containerd.server.v1.debug", listener), debug: rest };
}

/** What a table has under some keys, by their new names, and what it has besides. */
function split(table: Table, names: ReadonlyMap<string, string>): readonly [taken: Table, rest: Table] {
  const entries = Object.entries(table);
  const taken = entries.flatMap(([key, value]) => {
    const name = names.get(key);
    return name === undefined ? [] : [[name, value] as const];
  });
  return [Object.fromEntries(taken), Object.fromEntries(entries.filter(([key]) => !names.has(key)))];
}

/** What the table of a plugin says itself wins. */
function withPlugin(config: Table, uri: string, table: Table): Table {
  if (Object.keys(table).length === 0) return config;
  const plugins = isTable(config["plugins"]) ? config["plugins"] : {};
  const own = plugins[uri];
  return { ...config, plugins: { ...plugins, [uri]: { ...table, ...(isTable(own) ? own : {}) } } };
}

function moveServers(config: Table): Table {
  let moved: Table = config;
  for (const [name, uri] of SERVER_TABLES) {
    const { [name]: table, ...rest } = moved;
    moved = isTable(table) ? withPlugin(rest, uri, table) : rest;
  }
  moved = moveKeys(moved, "io.containerd.server.v1.grpc", GRPC_TCP_KEYS, "io.containerd.server.v1.grpc-tcp");
  return moveKeys(moved, "io.containerd.server.v1.metrics", HISTOGRAM_KEY, "io.containerd.metrics.v1.grpc-prometheus");
}

/** This takes keys of one plugin's table to another's, where they have other names. */
function moveKeys(config: Table, from: string, names: ReadonlyMap<string, string>, to: string): Table {
  const plugins = isTable(config["plugins"]) ? config["plugins"] : {};
  const table = plugins[from];
  if (!isTable(table)) return config;
  const [taken, rest] = split(table, names);
  return withPlugin({ ...config, plugins: { ...plugins, [from]: rest } }, to, taken);
}
