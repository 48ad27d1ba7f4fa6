import { canceled, ConnectError, deadlineExceeded } from "@berth/errors";

/** Timers of Node end here; a deadline beyond it is as good as none. */
export const MAX_TIMER_MS = 2_147_483_647;

/** When a call is to be given up. */
export interface CallLimits {
  readonly signal: AbortSignal | undefined;
  readonly timeoutMs: number | undefined;
}

/** @throws canceled, deadline_exceeded - the call need not be begun */
export function checkLimits({ signal, timeoutMs }: CallLimits): void {
  if (signal?.aborted === true) throw abortError(signal.reason);
  if (timeoutMs !== undefined && timeoutMs <= 0) throw deadlineExceeded("the operation timed out");
}

/** This turns the reason of an aborted signal into the error of the call: canceled for a reason that is no error of its own. */
export function abortError(reason: unknown): ConnectError {
  if (reason instanceof ConnectError) return reason;
  if (reason instanceof Error && reason.name === "TimeoutError")
    return deadlineExceeded(reason.message, { cause: reason });
  return canceled(reason instanceof Error ? reason.message : "the operation was aborted", { cause: reason });
}
