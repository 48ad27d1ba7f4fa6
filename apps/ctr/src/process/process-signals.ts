import type { RemoteTask } from "@berth/client";
import { canceled, isFailedPrecondition, isNotFound, messageOf } from "@berth/errors";

import type { Session } from "../cli/session.ts";
import { complain } from "../output/complain.ts";
import { signalNumber } from "./signal-number.ts";

/** Signals that end what has not begun yet. */
const ENDING: readonly NodeJS.Signals[] = ["SIGINT", "SIGTERM", "SIGHUP"];
/** Signals that a terminal or another process sends on purpose; the others concern ctr itself. */
const CAUGHT: readonly NodeJS.Signals[] = [...ENDING, "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGCONT"];

interface Target {
  readonly task: Pick<RemoteTask, "kill">;
  readonly execId: string;
}

/**
 * What signals do while a process is made and runs. At first they end the session, so that what was made is removed again; from
 * {@link forwardTo} on they belong to the process. Disposing gives them back to ctr.
 */
export class ProcessSignals implements Disposable {
  readonly #session: Session;
  #target: Target | undefined;
  #started = false;

  /** Takes the signals at once. */
  constructor(session: Session) {
    this.#session = session;
    for (const signal of CAUGHT) process.on(signal, this.#onSignal);
  }

  /** This passes signals on from now, to a process that may not have been started yet. */
  forwardTo(task: Target["task"], execId = ""): void {
    this.#target = { task, execId };
  }

  /** This says that the process runs: if it cannot be found any more it has ended. */
  started(): void {
    this.#started = true;
  }

  [Symbol.dispose](): void {
    for (const signal of CAUGHT) process.off(signal, this.#onSignal);
  }

  readonly #onSignal = (signal: NodeJS.Signals): void => {
    if (this.#target === undefined) this.#end(signal);
    else void this.#forward(signal, this.#target);
  };

  async #forward(signal: NodeJS.Signals, { task, execId }: Target): Promise<void> {
    try {
      await task.kill({ execId, signalNumber: signalNumber(signal) });
    } catch (error) {
      if (!this.#started) this.#end(signal);
      else if (!isNotFound(error) && !isFailedPrecondition(error)) complain(`forward ${signal}: ${messageOf(error)}`);
    }
  }

  #end(signal: NodeJS.Signals): void {
    if (ENDING.includes(signal)) this.#session.interrupt(canceled(`stopped by ${signal}`));
  }
}
