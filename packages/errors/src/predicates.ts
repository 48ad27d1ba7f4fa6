import { Code } from "@connectrpc/connect";

import { codeOf } from "./error-class.ts";

/** This says whether anything thrown is of class `aborted` (see `codeOf`). */
export function isAborted(error: unknown): boolean {
  return codeOf(error) === Code.Aborted;
}

/** This says whether anything thrown is of class `already_exists` (see `codeOf`). */
export function isAlreadyExists(error: unknown): boolean {
  return codeOf(error) === Code.AlreadyExists;
}

/** This says whether anything thrown is of class `canceled` (see `codeOf`). */
export function isCanceled(error: unknown): boolean {
  return codeOf(error) === Code.Canceled;
}

/** This says whether anything thrown is of class `data_loss` (see `codeOf`). */
export function isDataLoss(error: unknown): boolean {
  return codeOf(error) === Code.DataLoss;
}

/** This says whether anything thrown is of class `deadline_exceeded` (see `codeOf`). */
export function isDeadlineExceeded(error: unknown): boolean {
  return codeOf(error) === Code.DeadlineExceeded;
}

/** This says whether anything thrown is of class `failed_precondition` (see `codeOf`). */
export function isFailedPrecondition(error: unknown): boolean {
  return codeOf(error) === Code.FailedPrecondition;
}

/** This says whether anything thrown is of class `internal` (see `codeOf`). */
export function isInternal(error: unknown): boolean {
  return codeOf(error) === Code.Internal;
}

/** This says whether anything thrown is of class `invalid_argument` (see `codeOf`). */
export function isInvalidArgument(error: unknown): boolean {
  return codeOf(error) === Code.InvalidArgument;
}

/** This says whether anything thrown is of class `not_found` (see `codeOf`). */
export function isNotFound(error: unknown): boolean {
  return codeOf(error) === Code.NotFound;
}

/** This is what to do with a failure of something that need not be there: `.catch(ignoreNotFound)`. @throws `error`, of any class but `not_found` */
export function ignoreNotFound(error: unknown): undefined {
  if (!isNotFound(error)) throw error;
}

/** This says whether anything thrown is of class `out_of_range` (see `codeOf`). */
export function isOutOfRange(error: unknown): boolean {
  return codeOf(error) === Code.OutOfRange;
}

/** This says whether anything thrown is of class `permission_denied` (see `codeOf`). */
export function isPermissionDenied(error: unknown): boolean {
  return codeOf(error) === Code.PermissionDenied;
}

/** This says whether anything thrown is of class `resource_exhausted` (see `codeOf`). */
export function isResourceExhausted(error: unknown): boolean {
  return codeOf(error) === Code.ResourceExhausted;
}

/** This says whether anything thrown is of class `unauthenticated` (see `codeOf`). */
export function isUnauthenticated(error: unknown): boolean {
  return codeOf(error) === Code.Unauthenticated;
}

/** This says whether anything thrown is of class `unavailable` (see `codeOf`). */
export function isUnavailable(error: unknown): boolean {
  return codeOf(error) === Code.Unavailable;
}

/** This says whether anything thrown is of class `unimplemented` (see `codeOf`). */
export function isUnimplemented(error: unknown): boolean {
  return codeOf(error) === Code.Unimplemented;
}

/** This says whether anything thrown is of class `unknown` (see `codeOf`). */
export function isUnknown(error: unknown): boolean {
  return codeOf(error) === Code.Unknown;
}
