import { glob, readFile } from "node:fs/promises";
import { dirname, isAbsolute, join } from "node:path";

import { invalidArgument, isNotFound, wrapError } from "@berth/errors";
import { parseTable } from "@berth/plugin-core";
import { parse, TomlError } from "smol-toml";

import type { DaemonConfig } from "./daemon-config.ts";
import { daemonConfigSchema } from "./daemon-config.ts";
import type { Table } from "./merge-config.ts";
import { isTable, mergeConfig } from "./merge-config.ts";
import { migrateConfig } from "./migrate-config.ts";

/** A configuration with what is odd about it. */
export interface LoadedConfig {
  readonly config: DaemonConfig;
  /** TOML paths of top-level keys that nothing reads. */
  readonly unknownKeys: readonly string[];
}

/** Values given on the command line; they win over every file. */
export type ConfigOverrides = Readonly<{ root?: string; state?: string; level?: string; address?: string }>;

/** The most files that imports may lead to. */
const MAX_FILES = 256;

/**
 * This reads the configuration: defaults, the file, what it imports (relative to the importing file, `*` allowed, breadth
 * first, each file once) and the command line, each over the one before.
 *
 * @param options.required the file must be there: it was named by the user
 * @throws not_found - a required file is missing
 * @throws invalid_argument - a file is not TOML (with line and column), or a value is wrong (with its TOML path)
 */
export async function loadConfig(
  path: string,
  options: { readonly required: boolean; readonly overrides?: ConfigOverrides },
): Promise<LoadedConfig> {
  let merged: Table = { imports: daemonConfigSchema.parse({}).imports };
  const queue = [{ file: path, required: options.required }];
  const seen = new Set<string>();
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
    if (seen.has(next.file)) continue;
    if (seen.size >= MAX_FILES)
      throw invalidArgument(`configuration ${path}: imports lead to more than ${MAX_FILES} files`);
    seen.add(next.file);
    const table = await readTable(next.file, next.required);
    merged = mergeConfig(merged, table ?? {});
    const imports = table?.["imports"] ?? (next.file === path ? merged["imports"] : []);
    for (const file of await expandImports(imports, dirname(next.file))) queue.push({ file, required: false });
  }
  const { value, unknownKeys } = parseTable(daemonConfigSchema, applyOverrides(merged, options.overrides ?? {}), []);
  // parseTable returns what the schema made.
  return { config: value as DaemonConfig, unknownKeys };
}

async function readTable(path: string, required: boolean): Promise<Table | undefined> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (isNotFound(error) && !required) return undefined;
    throw wrapError(error, `read configuration ${path}`);
  }
  try {
    return migrateConfig(parse(text), path);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    throw invalidArgument(`configuration ${path}:${error.line}:${error.column}: ${error.message}`, { cause: error });
  }
}

async function expandImports(imports: unknown, base: string): Promise<string[]> {
  if (!Array.isArray(imports)) return [];
  const files: string[] = [];
  for (const entry of imports) {
    if (typeof entry !== "string")
      throw invalidArgument(`imports: expected a list of paths, got ${JSON.stringify(entry)}`);
    const pattern = isAbsolute(entry) ? entry : join(base, entry);
    if (!pattern.includes("*")) files.push(pattern);
    else files.push(...(await Array.fromAsync(glob(pattern))).sort());
  }
  return files;
}

function applyOverrides(config: Table, { root, state, level, address }: ConfigOverrides): Table {
  const plugins = isTable(config["plugins"]) ? config["plugins"] : {};
  const debug = isTable(config["debug"]) ? config["debug"] : {};
  return {
    ...config,
    ...(root === undefined ? {} : { root }),
    ...(state === undefined ? {} : { state }),
    ...(level === undefined ? {} : { debug: { ...debug, level } }),
    ...(address === undefined ? {} : { plugins: withAddress(plugins, address) }),
  };
}

function withAddress(plugins: Table, address: string): Table {
  const grpc = plugins["io.containerd.server.v1.grpc"];
  return { ...plugins, "io.containerd.server.v1.grpc": { ...(isTable(grpc) ? grpc : {}), address } };
}
