import { invalidArgument, messageOf } from "@berth/errors";
import { z } from "zod";

import { compareVersions, NEWEST_VERSION } from "./cni-version.ts";

/** The part of a network that one plugin makes. */
export interface PluginConfig {
  /** Name of its program. */
  readonly type: string;
  /** What it can be told at run time. */
  readonly capabilities: ReadonlySet<string>;
  /** All that the file says of it. */
  readonly raw: Readonly<Record<string, unknown>>;
}

/** A network, as a file describes it. */
export interface NetworkConfig {
  readonly name: string;
  /** `0.1.0` where the file names none. */
  readonly cniVersion: string;
  readonly disableCheck: boolean;
  readonly disableGc: boolean;
  /** Plugins are not looked for in the directory that has the network's name. */
  readonly onlyInlinedPlugins: boolean;
  readonly plugins: readonly PluginConfig[];
  /** The text that it was read from. */
  readonly source: string;
}

/** As the library in Go reads them: a boolean, or its name. */
const FLAG = z
  .union([z.boolean(), z.stringFormat("boolean", /^(true|false)$/i).transform((text) => text.toLowerCase() === "true")])
  .default(false);
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;
const VERSION = z.string().refine(isVersion, "not a CNI version");
const RAW_PLUGIN = z.custom<Readonly<Record<string, unknown>>>(
  (value) => typeof value === "object" && value !== null && !Array.isArray(value),
  "expected an object",
);
const PLUGIN = z.object({
  type: z.string().min(1),
  capabilities: z.record(z.string(), z.boolean()).nullish(),
});
const NETWORK = z.object({ name: z.string().regex(NAME), cniVersion: VERSION.default("") });
const LIST = NETWORK.extend({
  cniVersions: z.array(VERSION).optional(),
  disableCheck: FLAG,
  disableGC: FLAG,
  loadOnlyInlinedPlugins: FLAG,
  plugins: z.array(RAW_PLUGIN).nonempty().optional(),
});

/**
 * This reads a list of plugins (`.conflist`). Of several versions the newest one that is understood holds.
 *
 * @throws invalid_argument - it is none
 * @see containernetworking/cni libcni/conf.go
 */
export function parseNetworkList(source: string): NetworkConfig {
  const { name, plugins, ...list } = check(LIST, parseJson(source));
  if (plugins === undefined && list.loadOnlyInlinedPlugins)
    throw invalidArgument("loadOnlyInlinedPlugins is set, and there are no plugins");
  return {
    name,
    cniVersion: chooseVersion(list.cniVersion, list.cniVersions),
    disableCheck: list.disableCheck,
    disableGc: list.disableGC,
    onlyInlinedPlugins: list.loadOnlyInlinedPlugins,
    plugins: (plugins ?? []).map((plugin, index) => pluginOf(plugin, `plugins.${index}`)),
    source,
  };
}

/** This reads a network of a single plugin (`.conf`, `.json`). @throws invalid_argument - it is none */
export function parseSingleNetwork(source: string): NetworkConfig {
  const raw = check(RAW_PLUGIN, parseJson(source));
  if (Object.hasOwn(raw, "plugins"))
    throw invalidArgument("there are plugins in a configuration of a single one: its file must end in .conflist");
  const { name, cniVersion } = check(NETWORK, raw);
  const plugin = pluginOf(raw);
  // The cache of results holds a list, as the library in Go makes one of it.
  const list = JSON.stringify({ name, cniVersion, plugins: [raw] });
  const flags = { disableCheck: false, disableGc: false, onlyInlinedPlugins: true };
  return { name, cniVersion: chooseVersion(cniVersion, undefined), ...flags, plugins: [plugin], source: list };
}

/** This reads the configuration of one plugin of a network whose list is elsewhere. @throws invalid_argument - it is none */
export function parsePlugin(source: string): PluginConfig {
  return pluginOf(check(RAW_PLUGIN, parseJson(source)));
}

/** What plugins are asked with, and the cache is named by: nothing in it may lead elsewhere. @throws invalid_argument */
export function checkAttachment(containerId: string, ifName: string): void {
  if (!NAME.test(containerId)) throw invalidArgument(`invalid container id ${JSON.stringify(containerId)} for CNI`);
  if (!/^[^/:\s\0]{1,15}$/.test(ifName) || ifName === "." || ifName === "..")
    throw invalidArgument(`invalid interface name ${JSON.stringify(ifName)}`);
}

function pluginOf(raw: Readonly<Record<string, unknown>>, path = ""): PluginConfig {
  const { type, capabilities } = check(PLUGIN, raw, path);
  const supported = Object.entries(capabilities ?? {}).filter(([, isSupported]) => isSupported);
  return { type, capabilities: new Set(supported.map(([name]) => name)), raw };
}

function chooseVersion(single: string, several: readonly string[] | undefined): string {
  if (several === undefined) return single === "" ? "0.1.0" : single;
  const all = single === "" ? several : [...several, single];
  const known = all.filter((version) => compareVersions(version, NEWEST_VERSION) <= 0).toSorted(compareVersions);
  return known.at(-1) ?? (single === "" ? "0.1.0" : single);
}

function isVersion(text: string): boolean {
  try {
    compareVersions(text, NEWEST_VERSION);
    return true;
  } catch {
    return false;
  }
}

function parseJson(source: string): unknown {
  try {
    return JSON.parse(source);
  } catch (error) {
    throw invalidArgument(messageOf(error), { cause: error });
  }
}

function check<T>(schema: z.ZodType<T>, value: unknown, path = ""): T {
  const { success, data, error } = schema.safeParse(value);
  if (success) return data;
  const told = error.issues.map((issue) => {
    const where = [path, ...issue.path.map(String)].filter(Boolean).join(".");
    return where === "" ? issue.message : `${where}: ${issue.message}`;
  });
  throw invalidArgument(told.join("; "));
}
