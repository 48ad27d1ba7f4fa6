import { createInterface } from "node:readline/promises";

import type { CallOptions } from "@berth/core/any";
import { canceled } from "@berth/errors";

import { booleanFlag, listFlag } from "../cli/flags.ts";

/** The flags that every prune has. */
export const PRUNE_FLAGS = {
  all: booleanFlag("all images that no container uses, not only those without a name", { aliases: ["a"] }),
  filter: listFlag("only what this holds for: until=24h, label=key[=value], label!=key, or a filter as in lists"),
  force: booleanFlag("do not ask", { aliases: ["f"] }),
  "dry-run": booleanFlag("print what would be removed, and remove nothing"),
};

/** This asks on a terminal whether to go on; without one nobody is asked. @throws canceled - the answer was not yes */
export async function confirm(question: string, { signal }: CallOptions): Promise<void> {
  if (!process.stdin.isTTY || !process.stdout.isTTY) return;
  using terminal = createInterface({ input: process.stdin, output: process.stdout });
  const answer = await terminal.question(`${question} [y/N] `, signal === undefined ? {} : { signal });
  if (!/^y(es)?$/i.test(answer.trim())) throw canceled("nothing was removed");
}
