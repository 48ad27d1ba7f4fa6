import { Code, ConnectError } from "@connectrpc/connect";

/** An error of a system call, as Node's `fs`, `net` and berth's `linux` throw it. */
export interface SystemError extends Error {
  readonly code: string;
  readonly syscall?: string;
  readonly path?: string;
}

const CLASSES: ReadonlyMap<string, Code> = new Map([
  ["ENOENT", Code.NotFound],
  ["EEXIST", Code.AlreadyExists],
  ["EACCES", Code.PermissionDenied],
  ["EPERM", Code.PermissionDenied],
  ["ENOSPC", Code.ResourceExhausted],
  ["EDQUOT", Code.ResourceExhausted],
  ["EMFILE", Code.ResourceExhausted],
  ["ENFILE", Code.ResourceExhausted],
  // A disk that cannot be read or written: what was there may be lost.
  ["EIO", Code.DataLoss],
  ["EROFS", Code.FailedPrecondition],
  ["ECONNREFUSED", Code.Unavailable],
  ["ECONNRESET", Code.Unavailable],
  ["EPIPE", Code.Unavailable],
  ["ETIMEDOUT", Code.DeadlineExceeded],
]);

/** This narrows to an error whose `code` is an errno name (`ENOENT`, …). */
export function isSystemError(error: unknown): error is SystemError {
  return error instanceof Error && "code" in error && typeof error.code === "string" && /^E[A-Z0-9]+$/.test(error.code);
}

/** This returns the errno name of a system error, `undefined` for any other value. */
export function systemErrorCode(error: unknown): string | undefined {
  return isSystemError(error) ? error.code : undefined;
}

/** This maps an errno to its class; unknown where no class fits. */
export function systemErrorClass(error: SystemError): Code {
  return CLASSES.get(error.code) ?? Code.Unknown;
}

/** This turns a system error into a `ConnectError` of the fitting class and leaves every other value as it is. */
export function fromSystemError(error: unknown): unknown {
  if (!isSystemError(error)) return error;
  return new ConnectError(error.message, systemErrorClass(error), undefined, undefined, error);
}
