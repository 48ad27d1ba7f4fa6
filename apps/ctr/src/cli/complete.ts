import type { Group, Leaf } from "./command-entry.ts";
import { COMMAND_TREE, findEntry } from "./command-tree.ts";
import type { Flag, Flags, FlagValues } from "./flags.ts";
import { GLOBAL_FLAGS } from "./global-flags.ts";
import { listFlagNames, listNames } from "./complete-names.ts";
import { parseFlags } from "./parse-flags.ts";

/** One thing that could stand where the cursor is. */
export interface Completion {
  readonly text: string;
  readonly description: string;
}

/**
 * This tells what could be the last of `words`, the words of a command line after `ctr`: commands, flags, or names of what the daemon has. Nothing where a file, or a value that
 * nobody knows, is meant.
 */
export async function complete(words: readonly string[]): Promise<readonly Completion[]> {
  const found = await candidates(words);
  const current = words.at(-1) ?? "";
  return found.filter(({ text }) => text.startsWith(current));
}

async function candidates(words: readonly string[]): Promise<readonly Completion[]> {
  const current = words.at(-1) ?? "";
  const start = withoutFlags(words.slice(0, -1), GLOBAL_FLAGS);
  if (!isWords(start)) return await valuesOf(start, words.slice(0, -2));
  let rest = start;
  const global = words.slice(0, words.length - 1 - rest.length);
  let group: Group = COMMAND_TREE;
  const path: string[] = [];
  for (;;) {
    const [word, ...after] = rest;
    if (word === undefined) {
      return current.startsWith("-") ? flagsOf(group === COMMAND_TREE ? GLOBAL_FLAGS : {}) : commandsOf(group);
    }
    const entry = findEntry(group, word);
    if (entry === undefined) {
      const taken = takenByGroup(group, rest);
      if (taken === undefined) return [];
      if (taken === rest.length + 1) return await ofGroupFlag(group, word, global);
      rest = rest.slice(taken);
      continue;
    }
    path.push(entry.name);
    rest = after;
    if (!("commands" in entry)) return await ofCommand(entry, { path, words: rest, current, global });
    group = entry;
  }
}

interface Place {
  readonly path: readonly string[];
  /** After the command, before the cursor. */
  readonly words: readonly string[];
  readonly current: string;
  readonly global: readonly string[];
}

async function ofCommand(leaf: Leaf, { path, words, current, global }: Place): Promise<readonly Completion[]> {
  const { flags, usage } = await leaf.load();
  const args = withoutFlags(words, flags);
  if (!isWords(args)) return await valuesOf(args, global);
  // As in `bash|zsh|fish`.
  if (/^\w+(\|\w+)+$/.test(usage) && args.length === 0) return textsOf(usage.split("|"));
  if (current.startsWith("-") && args.length === 0) return flagsOf(flags);
  return textsOf(await listNames({ path, usage, position: args.length }, globalFlags(global)));
}

/** How many words a flag of the group takes that stands before the command's name; one more than there are when its value is yet to come. */
function takenByGroup({ sharedFlags = [] }: Group, [word = ""]: readonly string[]): number | undefined {
  const [, name = "", value] = /^--?([^=]+)(=.*)?$/s.exec(word) ?? [];
  if (!sharedFlags.includes(name)) return undefined;
  return value === undefined ? 2 : 1;
}

/** What stands behind a group's flag; its commands have it too. */
async function ofGroupFlag(group: Group, word: string, global: readonly string[]): Promise<readonly Completion[]> {
  const leaf = group.commands.find((each): each is Leaf => !("commands" in each));
  const flag = leaf && flagOf(word.replace(/^--?/, ""), (await leaf.load()).flags);
  return flag === undefined ? [] : await valuesOf(flag, global);
}

function globalFlags(words: readonly string[]): FlagValues<typeof GLOBAL_FLAGS> {
  return parseFlags(GLOBAL_FLAGS, words, process.env).flags;
}

/** What follows the flags; the last flag when the next word is its value. */
function withoutFlags(words: readonly string[], flags: Flags): readonly string[] | Flag {
  for (let at = 0; at < words.length; at += 1) {
    const word = words[at] ?? "";
    if (word === "--") return words.slice(at + 1);
    if (!/^-./.test(word)) return words.slice(at);
    const flag = word.includes("=") ? undefined : flagOf(word.replace(/^--?/, ""), flags);
    if (flag === undefined || flag.kind === "boolean") continue;
    at += 1;
    if (at === words.length) return flag;
  }
  return [];
}

function flagOf(name: string, flags: Flags): Flag | undefined {
  return flags[name] ?? Object.values(flags).find(({ aliases }) => aliases.includes(name));
}

function isWords(found: readonly string[] | Flag): found is readonly string[] {
  return Array.isArray(found);
}

async function valuesOf({ values = [], names }: Flag, global: readonly string[]): Promise<readonly Completion[]> {
  return textsOf(names === undefined ? values : await listFlagNames(names, globalFlags(global)));
}

function textsOf(texts: readonly string[]): readonly Completion[] {
  return texts.map((text) => ({ text, description: "" }));
}

function commandsOf(group: Group): Completion[] {
  return group.commands.map(({ name, summary }) => ({ text: name, description: summary }));
}

function flagsOf(flags: Flags): Completion[] {
  const known = Object.entries(flags).filter(([, { unsupported }]) => unsupported === undefined);
  return [
    ...known.map(([name, { help }]) => ({ text: `--${name}`, description: help })),
    { text: "--help", description: "show help" },
  ];
}
