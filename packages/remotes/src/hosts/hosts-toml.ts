import { invalidArgument, messageOf } from "@berth/errors";
import { parseGoDuration } from "@berth/core/go-duration";
import { parse, TomlError } from "smol-toml";
import { z } from "zod";

import type { Capability } from "./registry-host.ts";

/** One server as `hosts.toml` describes it; files are named, not read. */
export interface HostEntry {
  /** URL without a slash at its end; a scheme only if one is given. Empty for a top level without `server`. */
  readonly server: string;
  /** Absent: all. */
  readonly capabilities?: readonly Capability[];
  readonly ca: readonly string[];
  /** Certificate and key, in one file or two. */
  readonly client: readonly (readonly [certificate: string, key: string])[];
  readonly skipVerify?: boolean;
  readonly headers: ReadonlyMap<string, readonly string[]>;
  readonly overridePath: boolean;
  readonly dialTimeoutMs?: number;
  readonly proxy?: string;
  readonly credentialsFile?: string;
}

/** A `hosts.toml`: the registry's own server and the mirrors before it, in the order of the file. */
export interface HostsFile {
  readonly server: HostEntry;
  readonly hosts: readonly HostEntry[];
  /** Of which nothing is known, with the names of their tables; without their values, which may be secrets. */
  readonly unknownKeys: readonly string[];
}

const MAX_TABLES = 256;
const strings = z.union([z.string(), z.array(z.string())]).transform((value) => [value].flat());
const pair = z.union([
  z.string().transform((file): [string, string] => [file, file]),
  z.tuple([z.string(), z.string()]),
  z.tuple([z.string()]).transform(([file]): [string, string] => [file, file]),
]);
const capability = z
  .string()
  .toLowerCase()
  .pipe(z.enum(["pull", "resolve", "push", "referrers"]));
const entry = z.object({
  capabilities: z.array(capability).default([]),
  ca: strings.default([]),
  client: z.union([z.string().transform((file): [string, string][] => [[file, file]]), z.array(pair)]).default([]),
  skip_verify: z.boolean().optional(),
  header: z.record(z.string(), strings).default({}),
  override_path: z.boolean().default(false),
  dial_timeout: z.string().default(""),
  proxy: z.url({ protocol: /^https?$/ }).optional(),
  credentials_file: z.string().optional(),
});
const file = entry.extend({ server: z.string().default(""), host: z.record(z.string(), entry).default({}) });

/**
 * This reads a `hosts.toml`. Its keys are containerd's, and two of berth: `proxy` and `credentials_file`; others, as programs that write such files have of their own, are passed over.
 *
 * @throws invalid_argument - TOML that is none, an unknown capability, a value of another type; the message has the place
 * @see containerd docs/hosts.md
 */
export function parseHostsToml(text: string): HostsFile {
  const value = parseToml(text);
  const { host, server, ...top } = check(value);
  const names = Object.keys(host);
  if (names.length > MAX_TABLES)
    throw invalidArgument(`hosts.toml has ${names.length} hosts, at most ${MAX_TABLES} are read`);
  return {
    server: toEntry(server, top),
    // In the order of the file, as smol-toml adds them; a name of digits alone, which would come first, is no host.
    hosts: Object.entries(host).map(([name, table]) => toEntry(name, table)),
    unknownKeys: [
      ...keysBeside(file.shape, value),
      ...Object.entries(Object(value["host"])).flatMap(([name, table]) =>
        keysBeside(entry.shape, table).map((key) => `host.${JSON.stringify(name)}.${key}`),
      ),
    ],
  };
}

function keysBeside(known: object, table: unknown): readonly string[] {
  return Object.keys(Object(table)).filter((key) => !Object.hasOwn(known, key));
}

function parseToml(text: string): Readonly<Record<string, unknown>> {
  try {
    return parse(text);
  } catch (error) {
    // The first line only, and no cause: what follows quotes the file, which may hold secrets in headers.
    throw invalidArgument(`hosts.toml: ${messageOf(error).split("\n", 1)[0]}${placeOf(error)}`);
  }
}

function check(value: unknown): z.infer<typeof file> {
  const result = file.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw invalidArgument(`hosts.toml: ${issue?.path.join(".") ?? ""}: ${issue?.message ?? "invalid"}`);
}

function placeOf(error: unknown): string {
  return error instanceof TomlError ? `, line ${error.line}, column ${error.column}` : "";
}

function toEntry(server: string, table: z.infer<typeof entry>): HostEntry {
  return {
    server: server.replace(/\/+$/, ""),
    ca: table.ca,
    client: table.client,
    headers: new Map(Object.entries(table.header)),
    overridePath: table.override_path,
    ...(table.capabilities.length > 0 && { capabilities: table.capabilities }),
    ...(table.skip_verify !== undefined && { skipVerify: table.skip_verify }),
    ...(table.dial_timeout !== "" && { dialTimeoutMs: parseGoDuration(table.dial_timeout) }),
    ...(table.proxy !== undefined && { proxy: table.proxy }),
    ...(table.credentials_file !== undefined && { credentialsFile: table.credentials_file }),
  };
}
