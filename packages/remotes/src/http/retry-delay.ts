const BASE_MS = 200;
const MAX_BACK_OFF_MS = 5000;
/** A server that wants to be left alone for longer is not waited for. */
const MAX_RETRY_AFTER_MS = 60_000;

/**
 * This returns how long to wait before the next attempt, `undefined` when the server wants more patience than there is.
 *
 * @param retryAfter the header: seconds, or a date
 */
export function retryDelay(attempt: number, retryAfter: string | undefined, now = Date.now()): number | undefined {
  const backOff = Math.min(BASE_MS * 2 ** attempt, MAX_BACK_OFF_MS);
  if (retryAfter === undefined) return backOff;
  const asked = /^\d{1,9}$/.test(retryAfter) ? Number(retryAfter) * 1000 : Date.parse(retryAfter) - now;
  if (!Number.isFinite(asked)) return backOff;
  return asked > MAX_RETRY_AFTER_MS ? undefined : Math.max(asked, 0);
}
