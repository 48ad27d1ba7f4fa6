import type { RemoteTask } from "@berth/client";
import { isFailedPrecondition, isNotFound, messageOf } from "@berth/errors";

import { signalNumber } from "./signal-number.ts";

/** Signals that a terminal or another process sends on purpose; the others concern ctr itself. */
const FORWARDED = ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGCONT"] as const;

/** This passes signals on to a process of a container, instead of acting on them, until it is disposed. */
export function forwardSignals(task: RemoteTask, execId = ""): Disposable {
  const forward = (signal: NodeJS.Signals): void => {
    task.kill({ execId, signalNumber: signalNumber(signal) }).catch((error: unknown) => {
      // It has ended just now.
      if (isNotFound(error) || isFailedPrecondition(error)) return;
      process.stderr.write(`ctr: forward ${signal}: ${messageOf(error)}\n`);
    });
  };
  for (const signal of FORWARDED) process.on(signal, forward);
  return {
    [Symbol.dispose]() {
      for (const signal of FORWARDED) process.off(signal, forward);
    },
  };
}
