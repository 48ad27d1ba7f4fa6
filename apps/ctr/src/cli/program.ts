import { invalidArgument, isInvalidArgument, messageOf } from "@berth/errors";

import { complain } from "../output/complain.ts";
import { describeError } from "../output/describe-error.ts";
import { flushOutput, isReaderGone, print, watchOutput } from "../output/print.ts";
import { VERSION } from "../version.ts";
import type { Command } from "./command.ts";
import type { Entry, Group, Leaf } from "./command-entry.ts";
import { COMMAND_TREE, findEntry } from "./command-tree.ts";
import { GLOBAL_FLAGS } from "./global-flags.ts";
import { parseFlags } from "./parse-flags.ts";
import type { SessionOptions } from "./session.ts";

const FAILURE = 1;
/** What a shell tells of a program that SIGPIPE has ended. */
const READER_GONE = 141;
/** What containerd's ctr exits with for a command that it does not know. */
const UNKNOWN_COMMAND = 3;

/** What the scripts of `ctr completion` call; not for people, and in no help. */
const COMPLETE = "__complete";

/** This runs one command line and returns the exit code. What goes wrong is told in one line on standard error. */
export async function runProgram(argv: readonly string[]): Promise<number> {
  watchOutput();
  // Debugging is known before the line is understood.
  const debug = argv.includes("--debug");
  try {
    const code = await dispatch(argv);
    await flushOutput();
    return code === 0 && isReaderGone() ? READER_GONE : code;
  } catch (error) {
    if (isReaderGone()) return READER_GONE;
    complain(describeError(error));
    if (debug && error instanceof Error) console.error(error);
    return FAILURE;
  }
}

async function dispatch(argv: readonly string[]): Promise<number> {
  if (argv[0] === COMPLETE) return await printCompletions(argv.slice(1));
  const { flags, args, help } = parseFlags(GLOBAL_FLAGS, argv, process.env);
  if (flags.version) {
    print(`ctr ${VERSION}\n`);
    return 0;
  }
  const session = {
    address: flags.address,
    namespace: flags.namespace,
    timeoutMs: flags.timeout,
    connectTimeoutMs: flags["connect-timeout"],
    debug: flags.debug,
  };
  return walk({ group: COMMAND_TREE, path: ["ctr"], words: help ? ["--help"] : args, leading: [] }, session);
}

async function printCompletions(words: readonly string[]): Promise<number> {
  const { complete } = await import("./complete.ts");
  for (const { text, description } of await complete(words)) print(`${text}\t${description}\n`);
  return 0;
}

interface Position {
  readonly group: Group;
  readonly path: readonly string[];
  readonly words: readonly string[];
  /** Flags of the group that stood before the command's name. */
  readonly leading: readonly string[];
}

async function walk(position: Position, session: SessionOptions): Promise<number> {
  const { group, path, leading } = position;
  const [word, ...rest] = position.words;
  if (word === undefined || word === "help" || word === "h" || word === "--help" || word === "-h") {
    return showHelp(position, rest);
  }
  if (word.startsWith("-")) return walk(takeGroupFlag(position), session);
  const entry = findEntry(group, word);
  if (entry === undefined) return unknownCommand(path, word, group);
  const next = [...path, entry.name];
  if ("commands" in entry) return walk({ group: entry, path: next, words: rest, leading }, session);
  return runLeaf(entry, next, [...leading, ...rest], session);
}

/** @throws invalid_argument - the group has no such flag */
function takeGroupFlag(position: Position): Position {
  const [word = "", ...rest] = position.words;
  const [, name = "", value] = /^--?([^=]*)(=.*)?$/s.exec(word) ?? [];
  if (position.group.sharedFlags?.includes(name) !== true) {
    throw invalidArgument(`flag provided but not defined: -${name}`);
  }
  if (value === undefined && rest.length === 0) throw invalidArgument(`flag needs an argument: -${name}`);
  const taken = value === undefined ? 2 : 1;
  return {
    ...position,
    words: position.words.slice(taken),
    leading: [...position.leading, ...position.words.slice(0, taken)],
  };
}

async function showHelp({ group, path }: Position, words: readonly string[]): Promise<number> {
  const { commandHelp, groupHelp } = await import("./help.ts");
  const entry: Entry | undefined = words[0] === undefined ? group : findEntry(group, words[0]);
  if (entry === undefined) return unknownCommand(path, words[0] ?? "", group);
  const full = entry === group ? path : [...path, entry.name];
  print("commands" in entry ? groupHelp(full, entry) : commandHelp(full, entry, await entry.load()));
  return 0;
}

async function runLeaf(
  entry: Leaf,
  path: readonly string[],
  words: readonly string[],
  options: SessionOptions,
): Promise<number> {
  // Loaded together: each wave of imports costs milliseconds of every call.
  const [command, { Session }] = await Promise.all([entry.load(), import("./session.ts")]);
  const { flags, args, help } = readFlags(command, path, words);
  if (help) {
    const { commandHelp } = await import("./help.ts");
    print(commandHelp(path, entry, command));
    return 0;
  }
  await using session = new Session(options);
  const code = await command.run({ flags, args, session });
  return code ?? 0;
}

/** Like `parseFlags`; the error also tells where the flags are explained. */
function readFlags(command: Command, path: readonly string[], words: readonly string[]) {
  try {
    return parseFlags(command.flags, words, process.env);
  } catch (error) {
    if (!isInvalidArgument(error)) throw error;
    throw invalidArgument(`${messageOf(error)} (see ${path.join(" ")} --help)`, { cause: error });
  }
}

function unknownCommand(path: readonly string[], word: string, group: Group): number {
  const near = group.commands
    .flatMap(({ name, aliases = [] }) => [name, ...aliases])
    .filter((name) => isNear(name, word));
  const hint = near.length > 0 ? `did you mean ${near.join(" or ")}?` : `see ${path.join(" ")} --help`;
  complain(`no command ${JSON.stringify(word)} in "${path.join(" ")}": ${hint}`);
  return UNKNOWN_COMMAND;
}

/** So many letters may be wrong in a name that is offered instead. */
const NEAR = 2;

function isNear(name: string, word: string): boolean {
  return name.length > NEAR && (name.startsWith(word) || editDistance(name, word) <= NEAR);
}

/** How many letters must be changed, added or left out to make one word of the other. */
function editDistance(one: string, other: string): number {
  let row = Array.from({ length: other.length + 1 }, (_, index) => index);
  for (const [index, letter] of [...one].entries()) {
    const next = [index + 1];
    for (let at = 1; at <= other.length; at += 1) {
      const change = (row[at - 1] ?? 0) + (letter === other[at - 1] ? 0 : 1);
      next.push(Math.min(change, (row[at] ?? 0) + 1, (next[at - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[other.length] ?? 0;
}
