import { expect, it } from "vitest";

import type { Entry, Group, Leaf } from "./command-entry.ts";
import { COMMAND_TREE } from "./command-tree.ts";
import { commandHelp, groupHelp } from "./help.ts";

function leaves(group: Group, path: readonly string[] = []): (readonly [path: string, entry: Leaf])[] {
  return group.commands.flatMap((entry: Entry) =>
    "commands" in entry ? leaves(entry, [...path, entry.name]) : [[[...path, entry.name].join(" "), entry] as const],
  );
}

it.each(leaves(COMMAND_TREE))("%s has a complete help, and no name twice", async (path, entry) => {
  const command = await entry.load();
  const help = commandHelp(["ctr", ...path.split(" ")], entry, command);
  expect(help).toContain(`Usage: ctr ${path}`);
  const names = Object.entries(command.flags).flatMap(([name, { aliases }]) => [name, ...aliases]);
  expect(new Set(names).size).toBe(names.length);
  for (const name of Object.keys(command.flags)) expect(help).toContain(`--${name}`);
});

const LISTING = /(^| )(active|check|df|events|list|metrics|ps|usage)$/;

it.each(leaves(COMMAND_TREE).filter(([path]) => LISTING.test(path)))(
  "%s is printed as JSON as well",
  async (_, entry) => {
    expect((await entry.load()).flags["format"]?.values).toEqual(["table", "json"]);
  },
);

it("every group lists its commands, with unique names", () => {
  const groups = [COMMAND_TREE, ...COMMAND_TREE.commands.filter((entry) => "commands" in entry)];
  for (const group of groups) {
    const help = groupHelp([group.name], group);
    const names = group.commands.flatMap(({ name, aliases = [] }) => [name, ...aliases]);
    expect(new Set(names).size).toBe(names.length);
    for (const { summary } of group.commands) expect(help).toContain(summary);
  }
});
