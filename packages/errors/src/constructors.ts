import { Code, ConnectError } from "@connectrpc/connect";

interface ErrorOptions {
  readonly cause?: unknown;
}

function make(message: string, code: Code, options: ErrorOptions | undefined): ConnectError {
  return new ConnectError(message, code, undefined, undefined, options?.cause);
}

/** This makes an error of class `aborted`: the operation lost a race and may be tried again from its start. */
export function aborted(message: string, options?: ErrorOptions): ConnectError {
  return make(message, Code.Aborted, options);
}

/** This makes an error of class `already_exists`: what was to be made is there. */
export function alreadyExists(message: string, options?: ErrorOptions): ConnectError {
  return make(message, Code.AlreadyExists, options);
}

/** This makes an error of class `canceled`: the caller went away. */
export function canceled(message: string, options?: ErrorOptions): ConnectError {
  return make(message, Code.Canceled, options);
}

/** This makes an error of class `data_loss`: bytes are lost or corrupt for good. */
export function dataLoss(message: string, options?: ErrorOptions): ConnectError {
  return make(message, Code.DataLoss, options);
}

/** This makes an error of class `deadline_exceeded`: the time allowed is over. */
export function deadlineExceeded(message: string, options?: ErrorOptions): ConnectError {
  return make(message, Code.DeadlineExceeded, options);
}

/** This makes an error of class `failed_precondition`: the state of the system forbids it; trying again alone does not help. */
export function failedPrecondition(message: string, options?: ErrorOptions): ConnectError {
  return make(message, Code.FailedPrecondition, options);
}

/** This makes an error of class `internal`: an invariant of berth itself is broken. */
export function internal(message: string, options?: ErrorOptions): ConnectError {
  return make(message, Code.Internal, options);
}

/** This makes an error of class `invalid_argument`: the request is wrong whatever the state of the system. */
export function invalidArgument(message: string, options?: ErrorOptions): ConnectError {
  return make(message, Code.InvalidArgument, options);
}

/** This makes an error of class `not_found`: what was named is not there. */
export function notFound(message: string, options?: ErrorOptions): ConnectError {
  return make(message, Code.NotFound, options);
}

/** This makes an error of class `out_of_range`: an offset past the end, or one that does not fit what is there. */
export function outOfRange(message: string, options?: ErrorOptions): ConnectError {
  return make(message, Code.OutOfRange, options);
}

/** This makes an error of class `permission_denied`: the caller may not do this. */
export function permissionDenied(message: string, options?: ErrorOptions): ConnectError {
  return make(message, Code.PermissionDenied, options);
}

/** This makes an error of class `resource_exhausted`: a budget, a quota or the disk is used up. */
export function resourceExhausted(message: string, options?: ErrorOptions): ConnectError {
  return make(message, Code.ResourceExhausted, options);
}

/** This makes an error of class `unauthenticated`: credentials are missing or wrong. */
export function unauthenticated(message: string, options?: ErrorOptions): ConnectError {
  return make(message, Code.Unauthenticated, options);
}

/** This makes an error of class `unavailable`: it may work a little later: the resource is locked or the peer is away. */
export function unavailable(message: string, options?: ErrorOptions): ConnectError {
  return make(message, Code.Unavailable, options);
}

/** This makes an error of class `unimplemented`: this build or this peer does not do that. */
export function unimplemented(message: string, options?: ErrorOptions): ConnectError {
  return make(message, Code.Unimplemented, options);
}

/** This makes an error of class `unknown`: nothing better is known. */
export function unknown(message: string, options?: ErrorOptions): ConnectError {
  return make(message, Code.Unknown, options);
}
