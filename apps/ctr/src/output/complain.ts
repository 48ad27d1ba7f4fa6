import { messageOf, wrapError } from "@berth/errors";

import { describeError } from "./describe-error.ts";

/** This tells of a failure. What others have put into the text, such as a hostile image, cannot make the terminal show another one. */
export function complain(text: string): void {
  process.stderr.write(`ctr: ${text.replace(CONTROL, escaped)}\n`);
}

/** Characters that a terminal obeys, but for those that only part words and lines; and those that turn the direction of what follows. */
const CONTROL = /(?![\n\t])[\p{Cc}\p{Bidi_Control}]/gu;

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
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
