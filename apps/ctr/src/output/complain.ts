import { messageOf, wrapError } from "@berth/errors";

import { describeError } from "./describe-error.ts";

/** This tells of a failure that does not end the command. */
export function complain(text: string): void {
  process.stderr.write(`ctr: ${text}\n`);
}

/**
 * This does the same to each of several things. A failure is told and does not spare the rest; the first one is thrown at the end.
 */
export async function forEachTold(names: readonly string[], act: (name: string) => Promise<void>): Promise<void> {
  const failures: unknown[] = [];
  for (const name of names) {
    try {
      await act(name);
    } catch (error) {
      failures.push(error);
      // The last one is told by whoever catches it, if it is the only one.
      if (names.length > 1) complain(`${name}: ${describeError(error)}`);
    }
  }
  if (failures.length === 0) return;
  const [first] = failures;
  const [name = ""] = names;
  // Not every daemon says what it speaks of.
  throw names.length > 1 || messageOf(first).includes(name) ? first : wrapError(first, name);
}
