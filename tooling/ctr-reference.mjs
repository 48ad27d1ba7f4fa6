// Writes docs/ctr.md: every command of ctr with its flags, from the table that ctr itself reads. With --check it writes nothing and
// fails when the file would change. To be run with --conditions=@berth/source.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

import { root } from "./lib/paths.mjs";

// Not a dependency of this package: what is described, as it stands in the sources.
const sources = pathToFileURL(join(root, "apps/ctr/src/cli/"));
const { COMMAND_TREE } = await import(new URL("command-tree.ts", sources));
const { GLOBAL_FLAGS } = await import(new URL("global-flags.ts", sources));
const file = join(root, "docs", "ctr.md");
const text = await reference();
if (!process.argv.includes("--check")) writeFileSync(file, text);
else if (readFileSync(file, "utf8") !== text) {
  console.error("docs/ctr.md is stale, run: node --conditions=@berth/source tooling/ctr-reference.mjs");
  process.exitCode = 1;
}

async function reference() {
  const sections = [];
  for (const entry of COMMAND_TREE.commands) sections.push(await section(entry, ["ctr"]));
  return [
    "# Commands of `ctr`\n",
    "Written by `tooling/ctr-reference.mjs` from the command table; `ctr COMMAND --help` tells the same. Flags stand before the arguments, with one dash or two. What differs from containerd's `ctr` is in the [parity list](parity.md).\n",
    "## Global flags\n",
    "They stand before the command.\n",
    flagTable(Object.entries(GLOBAL_FLAGS)),
    ...sections,
  ].join("\n");
}

async function section(entry, path) {
  const full = [...path, entry.name];
  const title = `${"#".repeat(full.length)} ${full.join(" ")}\n`;
  const aliases = (entry.aliases ?? []).map(code).join(", ");
  const head = [title, `${markdown(entry.summary)}.${aliases === "" ? "" : ` Also ${aliases}.`}\n`];
  if (entry.commands === undefined) return [...head, ...(await command(entry, full))].join("\n");
  const below = [];
  for (const each of entry.commands) below.push(await section(each, full));
  const shared = entry.sharedFlags ?? [];
  const note =
    shared.length === 0
      ? []
      : [`${shared.map((name) => code(dashed(name))).join(" and ")} may also stand before the command's name.\n`];
  return [...head, ...note, ...below].join("\n");
}

async function command(entry, full) {
  const { usage, description, examples = [], flags } = await entry.load();
  const known = Object.entries(flags).filter(([, { unsupported }]) => unsupported === undefined);
  const refused = Object.entries(flags).filter(([, { unsupported }]) => unsupported !== undefined);
  const line = [full.join(" "), ...(known.length > 0 ? ["[flags]"] : []), ...(usage === "" ? [] : [usage])].join(" ");
  return [
    `\`\`\`\n${[line, ...examples.map((example, index) => `${index === 0 ? "\n" : ""}${example}`)].join("\n")}\n\`\`\`\n`,
    ...(description === undefined ? [] : [`${markdown(description)}\n`]),
    ...(known.length > 0 ? [flagTable(known)] : []),
    ...(refused.length > 0 ? [`Refused: ${refusals(refused)}.\n`] : []),
  ];
}

/** Flags that are refused for one reason stand together. */
function refusals(flags) {
  const byReason = Map.groupBy(flags, ([, { help }]) => help);
  return [...byReason]
    .map(([reason, each]) => `${each.map(([name]) => code(dashed(name))).join(", ")} (${markdown(reason)})`)
    .join("; ");
}

function flagTable(flags) {
  const rows = flags.map(([name, flag]) => {
    const names = [name, ...flag.aliases].map((each) => code(dashed(each))).join(", ");
    const value =
      flag.kind === "boolean"
        ? ""
        : flag.kind === "list"
          ? "text, repeatable"
          : flag.kind === "string"
            ? "text"
            : flag.kind;
    return `| ${names} | ${value} | ${markdown(flag.help)}${notes(flag)} |`;
  });
  return `| flag | value | |\n|---|---|---|\n${rows.join("\n")}\n`;
}

function notes({ initial, env, kind }) {
  const text = kind === "duration" ? `${initial / 1000} s` : String(initial);
  const isTold = kind !== "list" && initial !== "" && initial !== 0 && initial !== false;
  return `${isTold ? ` (${code(text)} unless given)` : ""}${env === undefined ? "" : `; also ${code(`$${env}`)}`}`;
}

function dashed(name) {
  return name.length === 1 ? `-${name}` : `--${name}`;
}

function code(text) {
  return `\`${text}\``;
}

/** Plain text, so that none of it is taken for markup. */
function markdown(text) {
  return text.replaceAll("\n", " ").replaceAll(/([<>|*_])/g, "\\$1");
}
