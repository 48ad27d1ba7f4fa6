import { Turns } from "@berth/core/turns";
import { notFound } from "@berth/errors";
import type { ExitStatus } from "@berth/linux/process";

import type { ProcessStdio, StdioRequest } from "./stdio/process-stdio.ts";

/** How long a deleted process's output may take to reach its reader. */
export const DRAIN_TIMEOUT_MS = 10_000;

/** How a process ended. */
export interface ProcessExit {
  readonly status: number;
  readonly at: Date;
}

/** What init and exec processes have in common: an id, streams, and one end. */
export class ShimProcess {
  /** Empty for init. */
  readonly execId: string;
  readonly request: StdioRequest;
  readonly stdio: ProcessStdio;
  /** Start, delete and changes of state follow one another. */
  readonly turns = new Turns(1);
  pid = 0;
  exit: ProcessExit | undefined;
  /** Its id is free for others: set when its status has been taken, which may be long before the end is told. */
  reaped = false;
  readonly #exited = Promise.withResolvers<ProcessExit>();
  #starting: Promise<unknown> = Promise.resolve();

  constructor(execId: string, request: StdioRequest, stdio: ProcessStdio) {
    this.execId = execId;
    this.request = request;
    this.stdio = stdio;
    // nobody has to wait
    this.#exited.promise.catch(() => {});
  }

  /** Resolves when the end is known and told. */
  get exited(): Promise<ProcessExit> {
    return this.#exited.promise;
  }

  /** This holds the news of the end back until `work`, which tells of the start, is done. */
  startWith<T>(work: Promise<T>): Promise<T> {
    this.#starting = work.catch(() => {});
    return work;
  }

  /** Resolves when no start is under way. */
  get started(): Promise<unknown> {
    return this.#starting;
  }

  setExit({ status, exitedAt }: Pick<ExitStatus, "status" | "exitedAt">): ProcessExit {
    this.exit ??= { status, at: exitedAt };
    return this.exit;
  }

  /** This answers those who wait. */
  announceExit(): void {
    if (this.exit) this.#exited.resolve(this.exit);
  }

  /** This ends the waits for a process that was removed before it ever ran. */
  announceRemoval(): void {
    this.#exited.reject(notFound(`process ${this.execId || "init"} was deleted`));
  }
}
