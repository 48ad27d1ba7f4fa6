import { Code, codeOf, ConnectError, messageOf } from "@berth/errors";

/** Classes that the text of an error often leaves out, in containerd's words. */
const WORDS: ReadonlyMap<Code, string> = new Map([
  [Code.NotFound, "not found"],
  [Code.AlreadyExists, "already exists"],
  [Code.FailedPrecondition, "failed precondition"],
]);

/** This tells an error in one line, with its class where that is what a reader wants to know. */
export function describeError(error: unknown): string {
  if (error instanceof SuppressedError) return describeSuppressed(error);
  const text = messageOf(error)
    .trim()
    .replace(/\s*\n\s*/g, "; ");
  const words = error instanceof ConnectError ? WORDS.get(codeOf(error)) : undefined;
  return words === undefined || text.includes(words) ? text : `${text}: ${words}`;
}

/** The failure that came first, and that of the cleaning up after it. */
function describeSuppressed({ error, suppressed }: SuppressedError): string {
  return `${describeError(suppressed)}; then, cleaning up: ${describeError(error)}`;
}
