import type { CallOptions } from "@berth/core/any";
import type { Logger } from "@berth/core/log";

import type { Bundle } from "./bundle.ts";
import type { ShimConnection } from "./shim-connection.ts";
import type { ShimStarter, StartOptions } from "./shim-starter.ts";

/** One for the shim that was about to end, one for the one that took its place, and one in case that is unlucky too. */
const MAX_SHIMS = 3;

/** What became of something that was to be made in a shim: it is there, or the shim ended first, and nothing is left of what it did. */
export type ShimAttempt<T> = { readonly made: T } | { readonly shimEnded: unknown };

/** This gives a bundle a shim, whose end before it could be spoken to is no failure yet. @throws what `start` throws */
export async function startShim(
  shims: Pick<ShimStarter, "start" | "endedEarly">,
  bundle: Bundle,
  binary: string,
  start: StartOptions,
): Promise<ShimAttempt<ShimConnection>> {
  try {
    return { made: await shims.start(bundle, binary, start) };
  } catch (error) {
    if (shims.endedEarly(binary, error)) return { shimEnded: error };
    throw error;
  }
}

/**
 * This tries one shim after the other until what is wanted is made. Every process of a shim that a creation may cost counts, whether it
 * ends before it answers at all or while it works: there is no other limit, and no other place that tries again.
 *
 * @throws what the last shim failed with; what `attempt` throws, at once
 */
export async function makeInShim<T>(
  attempt: () => Promise<ShimAttempt<T>>,
  { log, signal }: CallOptions & { readonly log: Logger },
): Promise<T> {
  for (let left = MAX_SHIMS - 1; ; left--) {
    const outcome = await attempt();
    if ("made" in outcome) return outcome.made;
    if (left === 0 || signal?.aborted === true) throw outcome.shimEnded;
    log.warn("shim ended before it had made what it was started for, trying another", { error: outcome.shimEnded });
  }
}
