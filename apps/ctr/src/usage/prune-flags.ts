import { once } from "node:events";
import { createInterface } from "node:readline/promises";

import type { CallOptions } from "@berth/core/any";
import { canceled, failedPrecondition } from "@berth/errors";

import { booleanFlag, listFlag } from "../cli/flags.ts";

/** The flags that every prune has. */
export const PRUNE_FLAGS = {
  all: booleanFlag("all images that no container uses, not only those without a name", { aliases: ["a"] }),
  filter: listFlag("only what this holds for: until=24h, label=key[=value], label!=key, or a filter as in lists"),
  force: booleanFlag("do not ask; needed where there is no terminal to ask on", { aliases: ["f"] }),
  "dry-run": booleanFlag("print what would be removed, and remove nothing"),
};

/**
 * This asks whether to go on, on standard error: standard output may lead elsewhere.
 *
 * @throws canceled - the answer was not yes; failed_precondition - there is no terminal to ask on
 */
export async function confirm(question: string, { signal }: CallOptions): Promise<void> {
  if (!process.stdin.isTTY || !process.stderr.isTTY)
    throw failedPrecondition("nothing was removed: there is no terminal to ask on; give --force");
  using terminal = createInterface({ input: process.stdin, output: process.stderr });
  const closed = once(terminal, "close", { signal }).then(() => "");
  // Whoever ends the input gives no answer.
  const answer = await Promise.race([terminal.question(`${question} [y/N] `, { signal }), closed]);
  if (!/^y(es)?$/i.test(answer.trim())) throw canceled("nothing was removed");
}
