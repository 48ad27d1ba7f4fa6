export { Code, ConnectError } from "@connectrpc/connect";

export type { ErrorClass } from "./error-class.ts";
export { codeOf, codeName, parseCodeName } from "./error-class.ts";
export {
  aborted,
  alreadyExists,
  canceled,
  dataLoss,
  deadlineExceeded,
  failedPrecondition,
  internal,
  invalidArgument,
  notFound,
  outOfRange,
  permissionDenied,
  resourceExhausted,
  unauthenticated,
  unavailable,
  unimplemented,
  unknown,
} from "./constructors.ts";
export {
  ignoreNotFound,
  isAborted,
  isAlreadyExists,
  isCanceled,
  isDataLoss,
  isDeadlineExceeded,
  isFailedPrecondition,
  isInternal,
  isInvalidArgument,
  isNotFound,
  isOutOfRange,
  isPermissionDenied,
  isResourceExhausted,
  isUnauthenticated,
  isUnavailable,
  isUnimplemented,
  isUnknown,
} from "./predicates.ts";
export { fromSystemError, isSystemError, systemErrorCode } from "./system-error.ts";
export { messageOf, toConnectError, withClass, wrapError } from "./wrap-error.ts";
