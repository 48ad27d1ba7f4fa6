import { invalidArgument } from "@berth/errors";
import type { z } from "zod";

import type { Plugin } from "./define-plugin.ts";
import { pluginUri } from "./plugin-type.ts";

/** A table of the configuration file that was read, and what is wrong with it without being an error. */
export interface ParsedConfig {
  readonly value: unknown;
  /** TOML paths of keys that nothing reads. */
  readonly unknownKeys: readonly string[];
}

/**
 * This reads the table of a plugin with its schema.
 *
 * @param table the TOML table, `undefined` when the file has none
 * @throws invalid_argument - a value is wrong; the message has its TOML path
 */
export function parsePluginConfig(plugin: Plugin, table: unknown): ParsedConfig {
  const place = ["plugins", pluginUri(plugin.type, plugin.id)];
  return parseTable(plugin.config, table ?? {}, place);
}

/** This reads any table with a schema; `place` is the TOML path of the table. @throws invalid_argument */
export function parseTable(schema: z.ZodType, table: unknown, place: readonly string[]): ParsedConfig {
  const result = schema.safeParse(table);
  if (!result.success) {
    const problems = result.error.issues.map((issue) => `${tomlPath([...place, ...issue.path])}: ${issue.message}`);
    throw invalidArgument(`configuration: ${problems.join("; ")}`);
  }
  return { value: result.data, unknownKeys: unknownKeys(table, result.data, place) };
}

/** This writes a TOML path, quoting the parts that need it: `plugins."io.containerd.x.v1.y".key`. */
export function tomlPath(parts: readonly PropertyKey[]): string {
  return parts
    .map(String)
    .map((part) => (/^[A-Za-z0-9_-]+$/.test(part) ? part : JSON.stringify(part)))
    .join(".");
}

function unknownKeys(raw: unknown, parsed: unknown, place: readonly string[]): string[] {
  if (!isTable(raw) || !isTable(parsed)) return [];
  return Object.keys(raw).flatMap((key) =>
    Object.hasOwn(parsed, key) ? unknownKeys(raw[key], parsed[key], [...place, key]) : [tomlPath([...place, key])],
  );
}

function isTable(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);
}
