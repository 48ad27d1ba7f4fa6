import { setTimeout as sleep } from "node:timers/promises";

import type { CallOptions } from "@berth/core/any";

/** Lets so many bytes a second pass, over everything that shares it. */
export interface RateLimit {
  /** This resolves when `bytes` may pass. @throws the reason of the signal */
  pass(bytes: number, options?: CallOptions): Promise<void>;
}

/** This makes a limit. What was not used is not saved up. */
export function createRateLimit(bytesPerSecond: number): RateLimit {
  /** When everything that has been let through so far would have passed at the rate. */
  let busyUntil = 0;
  return {
    async pass(bytes, { signal } = {}) {
      signal?.throwIfAborted();
      const now = performance.now();
      const wait = busyUntil - now;
      busyUntil = Math.max(busyUntil, now) + (bytes / bytesPerSecond) * 1000;
      if (wait > 0) await sleep(wait, undefined, { signal });
    },
  };
}
