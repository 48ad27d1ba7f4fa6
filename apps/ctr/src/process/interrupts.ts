import { canceled } from "@berth/errors";

import type { Session } from "../cli/session.ts";

/**
 * This makes SIGINT and SIGTERM end the session's calls instead of this process, so that what was begun is cleaned up. A second
 * signal ends the process at once. Disposing gives the signals back.
 */
export function endOnSignals(session: Session): Disposable {
  const onSignal = (signal: NodeJS.Signals): void => {
    release();
    session.interrupt(canceled(`stopped by ${signal}`));
  };
  const release = (): void => {
    process.off("SIGINT", onSignal);
    process.off("SIGTERM", onSignal);
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  return { [Symbol.dispose]: release };
}
