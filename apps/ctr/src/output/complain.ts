import { messageOf, wrapError } from "@berth/errors";

import { describeError } from "./describe-error.ts";

/** This tells of a failure that does not end the command. */
export function complain(text: string): void {
  process.stderr.write(`ctr: ${text}\n`);
}

/**
 * This does the same to each of several things. A failure does not spare the rest. Each is told once: the last one is thrown at the end, and those before it are
 * told here.
 */
export async function forEachTold(names: readonly string[], act: (name: string) => Promise<void>): Promise<void> {
  let failure: { readonly error: unknown } | undefined;
  for (const name of names) {
    try {
      await act(name);
    } catch (error) {
      if (failure !== undefined) complain(describeError(failure.error));
      // Not every daemon says what it speaks of.
      failure = { error: messageOf(error).includes(name) ? error : wrapError(error, name) };
    }
  }
  if (failure !== undefined) throw failure.error;
}
