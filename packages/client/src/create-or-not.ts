import type { CallOptions } from "@berth/core/any";
import { raceSignal } from "@berth/core/race-signal";

/** So long whoever gives up waits for the answer of the daemon. */
const ANSWER_TIMEOUT_MS = 10_000;

/**
 * This makes a record, of which nothing is left when the signal aborts it: only its answer tells whether the daemon has made it, so that is waited for, ten seconds at most, and what
 * was made is removed.
 *
 * @throws as `create`; the reason of the signal
 */
export async function createOrNot<T>(
  create: (options: CallOptions) => Promise<T>,
  remove: (made: T, options: CallOptions) => Promise<void>,
  { signal }: CallOptions,
): Promise<T> {
  signal?.throwIfAborted();
  const late = new AbortController();
  const creating = create({ signal: late.signal });
  try {
    return await raceSignal(creating, signal);
  } catch (error) {
    if (signal?.aborted !== true) throw error;
    const timer = setTimeout(() => late.abort(), ANSWER_TIMEOUT_MS);
    const made = await creating.then(
      (value) => ({ value }),
      () => undefined,
    );
    clearTimeout(timer);
    if (made !== undefined) await remove(made.value, { signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS) });
    throw error;
  }
}
