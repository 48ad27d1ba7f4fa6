import { Code, ConnectError } from "@connectrpc/connect";

import { codeOf } from "./error-class.ts";

/** This returns the text of anything thrown, without the code that `ConnectError` puts before it. */
export function messageOf(error: unknown): string {
  if (error instanceof ConnectError) return error.rawMessage;
  return error instanceof Error ? error.message : String(error);
}

/** Classes that a text often leaves out although they are what its reader wants to know, in containerd's words. */
const WORDS: ReadonlyMap<Code, string> = new Map([
  [Code.NotFound, "not found"],
  [Code.AlreadyExists, "already exists"],
  [Code.FailedPrecondition, "failed precondition"],
]);

/**
 * This is the text of an error as those see it who get nothing but a text, with its class where it does not say so itself. So it goes to
 * other processes: Go's clients print it as it comes.
 *
 * @see github.com/containerd/errdefs pkg/errgrpc ToNative
 */
export function withClass(text: string, code: Code): string {
  const words = WORDS.get(code);
  return words === undefined || text.includes(words) ? text : `${text}: ${words}`;
}

/**
 * This turns anything thrown into a `ConnectError`: one as it is, system and abort errors by their class, everything else as unknown with
 * its own message. The original is the `cause`.
 */
export function toConnectError(error: unknown): ConnectError {
  if (error instanceof ConnectError) return error;
  return new ConnectError(messageOf(error), codeOf(error), undefined, undefined, error);
}

/**
 * This adds what was being done to an error and keeps its class: `` `${doing}: ${message}` ``.
 *
 * The original is the `cause`; the details and metadata of a `ConnectError` are kept. Wrap at each layer, once.
 */
export function wrapError(error: unknown, doing: string): ConnectError {
  const message = `${doing}: ${messageOf(error)}`;
  if (!(error instanceof ConnectError)) return new ConnectError(message, codeOf(error), undefined, undefined, error);
  const wrapped = new ConnectError(message, error.code, error.metadata, undefined, error);
  wrapped.details = error.details;
  return wrapped;
}
