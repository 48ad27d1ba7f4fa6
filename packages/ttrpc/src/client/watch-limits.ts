import type { ConnectError } from "@connectrpc/connect";
import type { CallLimits } from "@berth/core/call-limits";
import { abortError, MAX_TIMER_MS } from "@berth/core/call-limits";
import { deadlineExceeded } from "@berth/errors";

/** This calls `giveUp` once when the signal aborts or the time is over, unless the returned function is called first. */
export function watchLimits({ signal, timeoutMs }: CallLimits, giveUp: (error: ConnectError) => void): () => void {
  const onAbort = (): void => {
    stop();
    giveUp(abortError(signal?.reason));
  };
  const timer =
    timeoutMs === undefined || timeoutMs >= MAX_TIMER_MS
      ? undefined
      : setTimeout(() => {
          stop();
          giveUp(deadlineExceeded("the operation timed out"));
        }, timeoutMs);
  const stop = (): void => {
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
  };
  signal?.addEventListener("abort", onAbort);
  return stop;
}
