import { invalidArgument } from "@berth/errors";

import { parseDuration } from "../output/duration.ts";
import type { Flag, Flags, FlagValues } from "./flags.ts";

/** Flags and what came after them. */
export interface ParsedFlags<F extends Flags> {
  readonly flags: FlagValues<F>;
  readonly args: readonly string[];
  /** `--help` or `-h` was given; nothing else counts then. */
  readonly help: boolean;
}

/**
 * This reads flags until the first argument that is none, by the rules of containerd's ctr: one dash or two, `--name value` or
 * `--name=value`, `--` ends them. What follows is left alone: it belongs to the command that runs in the container.
 *
 * @throws invalid_argument - an unknown flag, one that is not supported, a missing or malformed value
 */
export function parseFlags<F extends Flags>(
  definitions: F,
  argv: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
): ParsedFlags<F> {
  const names = namesOf(definitions);
  const values = initialValues(definitions, environment);
  let at = 0;
  for (; at < argv.length; at += 1) {
    const argument = argv[at] ?? "";
    if (argument === "--") {
      at += 1;
      break;
    }
    if (!/^-./.test(argument)) break;
    const { name, text } = splitArgument(argument);
    if (name === "help" || name === "h") return { flags: typed<F>(values), args: [], help: true };
    const long = names.get(name);
    const flag = long === undefined ? undefined : definitions[long];
    if (long === undefined || flag === undefined) throw invalidArgument(`flag provided but not defined: -${name}`);
    if (flag.unsupported !== undefined) throw invalidArgument(`--${long} is not supported: ${flag.unsupported}`);
    if (text === undefined && flag.kind !== "boolean") {
      at += 1;
      if (at >= argv.length) throw invalidArgument(`flag needs an argument: -${name}`);
    }
    assign(values, long, flag, text ?? (flag.kind === "boolean" ? "true" : (argv[at] ?? "")));
  }
  return { flags: typed<F>(values), args: argv.slice(at), help: false };
}

function typed<F extends Flags>(values: ReadonlyMap<string, unknown>): FlagValues<F> {
  // Each value was made from the initial value of its flag, or read by its kind.
  return Object.fromEntries(values) as FlagValues<F>;
}

function splitArgument(argument: string): { readonly name: string; readonly text?: string } {
  const [, body = ""] = /^--?(.*)$/s.exec(argument) ?? [];
  const equals = body.indexOf("=");
  return equals < 0 ? { name: body } : { name: body.slice(0, equals), text: body.slice(equals + 1) };
}

function namesOf(definitions: Flags): ReadonlyMap<string, string> {
  const names = new Map<string, string>();
  for (const [long, { aliases }] of Object.entries(definitions)) {
    for (const name of [long, ...aliases]) names.set(name, long);
  }
  return names;
}

function initialValues(definitions: Flags, environment: Readonly<Record<string, string | undefined>>) {
  const values = new Map<string, unknown>();
  for (const [name, flag] of Object.entries(definitions)) {
    values.set(name, flag.initial);
    const text = flag.env === undefined ? undefined : environment[flag.env];
    if (text !== undefined && text !== "") assign(values, name, flag, text);
  }
  return values;
}

function assign(values: Map<string, unknown>, name: string, flag: Flag, text: string): void {
  if (flag.kind === "list") {
    // Lists are only ever set by this function and by `listFlag`.
    const before = (values.get(name) ?? []) as readonly string[];
    values.set(name, [...before, text]);
    return;
  }
  const value = parseValue(flag.kind, text);
  if (value === undefined) throw invalidArgument(`invalid value ${JSON.stringify(text)} for flag -${name}`);
  values.set(name, value);
}

/** Nothing for a text that is not of its kind. */
function parseValue(kind: Exclude<Flag["kind"], "list">, text: string): boolean | string | number | undefined {
  switch (kind) {
    case "string":
      return text;
    case "boolean":
      if (/^(1|t|true)$/i.test(text)) return true;
      return /^(0|f|false)$/i.test(text) ? false : undefined;
    case "integer":
      return /^[+-]?(\d+|0x[\da-f]+|0o[0-7]+|0b[01]+)$/i.test(text) ? safeInteger(text) : undefined;
    case "number":
      return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : undefined;
    case "duration":
      return parseDuration(text);
  }
}

function safeInteger(text: string): number | undefined {
  const negative = text.startsWith("-");
  const value = Number(text.replace(/^[+-]/, ""));
  if (!Number.isSafeInteger(value)) return undefined;
  return negative ? -value : value;
}
