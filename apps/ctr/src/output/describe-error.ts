import { ConnectError, messageOf, withClass } from "@berth/errors";

/** This tells an error in one line, with its class where that is what a reader wants to know. */
export function describeError(error: unknown): string {
  if (error instanceof SuppressedError) return describeSuppressed(error);
  const text = messageOf(error)
    .trim()
    .replace(/\s*\n\s*/g, "; ");
  return error instanceof ConnectError ? withClass(text, error.code) : text;
}

/** The failure that came first, and that of the cleaning up after it. */
function describeSuppressed({ error, suppressed }: SuppressedError): string {
  return `${describeError(suppressed)}; then, cleaning up: ${describeError(error)}`;
}
