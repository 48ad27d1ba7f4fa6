import type { Session } from "../cli/session.ts";
import { ProcessSignals } from "./process-signals.ts";

/** This makes SIGINT, SIGTERM and SIGHUP end the session's calls instead of this process, so that what was begun is cleaned up. */
export function endOnSignals(session: Session): Disposable {
  return new ProcessSignals(session);
}
