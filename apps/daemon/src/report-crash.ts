import { inspect } from "node:util";

import type { Logger } from "@berth/core/log";

/**
 * This logs what nobody catches, with its stack. Node then ends the process with code 1, as without this, and whoever supervises the daemon starts it again:
 * after an error that nobody expected its memory cannot be trusted, and every step is made so that a start recovers from an end right there.
 */
export function reportCrash(log: Logger): Disposable {
  const report = (error: unknown, origin: NodeJS.UncaughtExceptionOrigin): void =>
    log.error("unexpected error, the daemon ends", { origin, error: inspect(error) });
  process.on("uncaughtExceptionMonitor", report);
  return { [Symbol.dispose]: () => void process.off("uncaughtExceptionMonitor", report) };
}
