import { debianTool, newerTool, runProgram } from "@berth/testing";
import { expect, it } from "vitest";

import type { Entry } from "../src/cli/command-entry.ts";
import { COMMAND_TREE, findEntry } from "../src/cli/command-tree.ts";
import { CONTAINERD_COMMANDS, CONTAINERD_FLAG_SETS } from "./containerd-commands.ts";

const NO_GO = "a shim of containerd's is asked by its own program; `shim pprof` says so";

/**
 * What containerd's ctr has and this one has not, and why: commands, and flags as `command --flag`. What comes to be there is taken out.
 */
const MISSING: Readonly<Record<string, string>> = {
  "shim pprof block": NO_GO,
  "shim pprof goroutines": NO_GO,
  "shim pprof heap": NO_GO,
  "shim pprof profile": NO_GO,
  "shim pprof threadcreate": NO_GO,
  "shim pprof trace": NO_GO,
};

/** What only Debian's older ctr has. */
const GONE: Readonly<Record<string, string>> = {
  "content fetch --all-metadata": "2.x has no such flag: documents of all platforms came always, here never",
  "images pull --all-metadata": "2.x has no such flag: documents of all platforms came always, here never",
};

const entryOf = (path: readonly string[]): Entry | undefined =>
  path.reduce<Entry | undefined>(
    (entry, word) => (entry !== undefined && "commands" in entry ? findEntry(entry, word) : undefined),
    COMMAND_TREE,
  );

/** Every name of a flag that an entry takes; those that are refused with a reason are among them. */
async function flagsOf(entry: Entry): Promise<ReadonlySet<string>> {
  if ("commands" in entry) return new Set(entry.sharedFlags);
  const { flags } = await entry.load();
  return new Set(Object.entries(flags).flatMap(([name, { aliases }]) => [name, ...aliases]));
}

/** What of a command and its flags is not in our table. */
async function missing(path: readonly string[], flags: readonly string[]): Promise<readonly string[]> {
  const entry = entryOf(path);
  const name = path.join(" ");
  if (entry === undefined) return [name];
  const known = await flagsOf(entry);
  return flags.filter((flag) => !known.has(flag)).map((flag) => `${name} --${flag}`);
}

it("every command and flag of containerd 2.4 is there, or missing for a reason", async () => {
  const lines = CONTAINERD_COMMANDS.trim().split("\n");
  expect(lines.length).toBeGreaterThan(100);
  const found: string[] = [];
  for (const line of lines) {
    const [command = "", texts = ""] = line.split(":");
    const flags = texts
      .replaceAll(/\[(\w+)\]/g, (_set, name: string) => CONTAINERD_FLAG_SETS[name] ?? "")
      .split(/[ ,]+/)
      .filter(Boolean);
    found.push(...(await missing(command.split(" "), flags)));
  }
  expect(found.toSorted()).toEqual(Object.keys(MISSING).toSorted());
});

it.each([
  ["1.6", debianTool("ctr")],
  ["2", newerTool("ctr")],
])("every command and flag of Debian's ctr %s is there, or gone for a reason", { timeout: 120_000 }, async (_, go) => {
  const found: string[] = [];
  const pending: string[][] = [[]];
  for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
    const { stdout } = await runProgram(go, [...path, "--help"], { timeoutMs: 30_000 });
    const below = section(stdout, "COMMANDS").map((words) => words.split(/[ ,]/)[0] ?? "");
    const flags = section(stdout, "OPTIONS").flatMap((line) =>
      [...(line.split(/ {3,}/)[0] ?? "").matchAll(/(?:^|, )--?([\w-]+)/g)].map(([, name = ""]) => name),
    );
    const inherited = new Set(["help", "h"]);
    if (path.length > 0)
      found.push(
        ...(await missing(
          path,
          flags.filter((flag) => !inherited.has(flag)),
        )),
      );
    for (const name of below) if (name !== "help" && name !== "h") pending.push([...path, name]);
  }
  const known = { ...MISSING, ...GONE };
  expect(found.filter((each) => !Object.hasOwn(known, each)).toSorted()).toEqual([]);
});

it("every group of containerd's has its aliases", () => {
  const aliases: readonly (readonly [path: string, aliases: readonly string[]])[] = [
    ["plugins", ["plugin"]],
    ["containers", ["c", "container"]],
    ["events", ["event"]],
    ["images", ["image", "i"]],
    ["namespaces", ["namespace", "ns"]],
    ["snapshots", ["snapshot"]],
    ["tasks", ["t", "task"]],
    ["sandboxes", ["sandbox", "sb", "s"]],
    ["images list", ["ls"]],
    ["images delete", ["del", "remove", "rm"]],
    ["content delete", ["del", "remove", "rm"]],
    ["containers delete", ["del", "remove", "rm"]],
    ["leases delete", ["del", "remove", "rm"]],
    ["tasks delete", ["del", "remove", "rm"]],
    ["snapshots delete", ["del", "remove", "rm"]],
    ["namespaces remove", ["rm"]],
    ["sandboxes run", ["create", "c", "r"]],
    ["sandboxes info", ["i"]],
    ["sandboxes remove", ["rm"]],
    ["images inspect", ["i"]],
    ["snapshots mounts", ["m", "mount"]],
    ["tasks metrics", ["metric"]],
  ];
  for (const [path, names] of aliases) {
    const words = path.split(" ");
    for (const name of names) expect(entryOf([...words.slice(0, -1), name])).toBe(entryOf(words));
  }
});

/** The lines of a part of a help text. */
function section(help: string, title: string): readonly string[] {
  const lines = help.split("\n");
  const from = lines.findIndex((line) => line === `${title}:` || line === `GLOBAL ${title}:`);
  if (from < 0) return [];
  const rest = lines.slice(from + 1);
  const end = rest.findIndex((line) => line.trim() === "");
  return (end < 0 ? rest : rest.slice(0, end)).map((line) => line.trim());
}
