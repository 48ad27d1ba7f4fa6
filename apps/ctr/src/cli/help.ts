import { formatTable } from "../output/table.ts";
import type { Command } from "./command.ts";
import type { Entry, Group } from "./command-entry.ts";
import type { Flag, Flags } from "./flags.ts";
import { GLOBAL_FLAGS } from "./global-flags.ts";

const STYLE = { minWidth: 1, padding: 2 };

/** This writes the help of a group: its commands, and for the program itself its flags. */
export function groupHelp(path: readonly string[], group: Group): string {
  const isProgram = path.length === 1;
  const rows = group.commands.map((entry) => ["", [entry.name, ...(entry.aliases ?? [])].join(", "), entry.summary]);
  const name = path.join(" ");
  return [
    `${group.summary}.\n`,
    `Usage: ${name}${isProgram ? " [global flags]" : ""} COMMAND [flags] [arguments]\n`,
    `Commands:\n${formatTable(rows, STYLE)}`,
    ...(isProgram ? [`Global flags, before the command:\n${flagList(GLOBAL_FLAGS)}`] : []),
    `"${name} COMMAND --help" tells more about a command.\n`,
  ].join("\n");
}

/** This writes the help of a command. */
export function commandHelp(path: readonly string[], entry: Entry, command: Command): string {
  const { usage, description, examples = [], flags } = command;
  const supported = Object.entries(flags).filter(([, flag]) => flag.unsupported === undefined);
  const others = Object.entries(flags).filter(([, flag]) => flag.unsupported !== undefined);
  return [
    `${entry.summary}.${description === undefined ? "" : `\n${description}`}\n`,
    `Usage: ${path.join(" ")}${supported.length > 0 ? " [flags]" : ""}${usage === "" ? "" : ` ${usage}`}\n`,
    ...(examples.length > 0 ? [`Examples:\n${examples.map((line) => `  ${line}\n`).join("")}`] : []),
    ...(supported.length > 0 ? [`Flags, before the arguments:\n${flagList(Object.fromEntries(supported))}`] : []),
    ...(others.length > 0 ? [`Refused, with the reason: ${others.map(([name]) => `--${name}`).join(" ")}\n`] : []),
  ].join("\n");
}

function flagList(flags: Flags): string {
  const rows = Object.entries(flags).map(([name, flag]) => ["", namesOf(name, flag), flag.help + notesOf(flag)]);
  return formatTable(rows, STYLE);
}

function namesOf(name: string, { aliases, kind }: Flag): string {
  const value = kind === "boolean" ? "" : ` ${kind === "list" ? "value …" : kind === "string" ? "value" : kind}`;
  return [`--${name}`, ...aliases.map((alias) => (alias.length === 1 ? `-${alias}` : `--${alias}`))].join(", ") + value;
}

function notesOf({ initial, env, kind }: Flag): string {
  const shown = initial !== "" && initial !== 0 && initial !== false && kind !== "list" && kind !== "duration";
  return `${shown ? ` (default: ${String(initial)})` : ""}${env === undefined ? "" : ` [$${env}]`}`;
}
