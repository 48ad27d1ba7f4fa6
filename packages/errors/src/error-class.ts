import { Code, ConnectError } from "@connectrpc/connect";

import { isSystemError, systemErrorClass } from "./system-error.ts";

/** One of the sixteen gRPC codes, spelt as gRPC and Connect spell them on the wire. */
export type ErrorClass =
  | "canceled"
  | "unknown"
  | "invalid_argument"
  | "deadline_exceeded"
  | "not_found"
  | "already_exists"
  | "permission_denied"
  | "resource_exhausted"
  | "failed_precondition"
  | "aborted"
  | "out_of_range"
  | "unimplemented"
  | "internal"
  | "unavailable"
  | "data_loss"
  | "unauthenticated";

const NAMES: ReadonlyMap<Code, ErrorClass> = new Map([
  [Code.Canceled, "canceled"],
  [Code.Unknown, "unknown"],
  [Code.InvalidArgument, "invalid_argument"],
  [Code.DeadlineExceeded, "deadline_exceeded"],
  [Code.NotFound, "not_found"],
  [Code.AlreadyExists, "already_exists"],
  [Code.PermissionDenied, "permission_denied"],
  [Code.ResourceExhausted, "resource_exhausted"],
  [Code.FailedPrecondition, "failed_precondition"],
  [Code.Aborted, "aborted"],
  [Code.OutOfRange, "out_of_range"],
  [Code.Unimplemented, "unimplemented"],
  [Code.Internal, "internal"],
  [Code.Unavailable, "unavailable"],
  [Code.DataLoss, "data_loss"],
  [Code.Unauthenticated, "unauthenticated"],
] as const);

const CODES: ReadonlyMap<string, Code> = new Map([...NAMES].map(([code, name]) => [name, code]));

/** This returns the wire spelling of a code, `"unknown"` for a number outside the sixteen. */
export function codeName(code: Code): ErrorClass {
  return NAMES.get(code) ?? "unknown";
}

/** This returns the code of a wire spelling, `undefined` when there is none; the inverse of {@link codeName}. */
export function parseCodeName(name: string): Code | undefined {
  return CODES.get(name);
}

/**
 * This classifies anything thrown: a `ConnectError` by its code, an aborted signal as canceled (deadline_exceeded when it
 * timed out), a Node system error by its errno, and everything else as unknown.
 */
export function codeOf(error: unknown): Code {
  if (error instanceof ConnectError) return error.code;
  if (isSystemError(error)) return systemErrorClass(error);
  if (error instanceof Error) {
    if (error.name === "AbortError") return Code.Canceled;
    if (error.name === "TimeoutError") return Code.DeadlineExceeded;
  }
  return Code.Unknown;
}
