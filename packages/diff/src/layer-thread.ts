import { type Transferable, Worker } from "node:worker_threads";

import { internal, wrapError } from "@berth/errors";

import type { LayerAnswer, LayerJob, LayerOutcome } from "./layer-job.ts";

/** A thread that does jobs, and begins each when it is told to. */
export class LayerThread {
  readonly #worker: Worker;
  readonly #onEnd: () => void;
  readonly #pending = new Map<number, PromiseWithResolvers<LayerOutcome>>();
  #next = 0;
  #idle: NodeJS.Timeout | undefined;
  /** One of its jobs may keep all others waiting: it is to have no others. */
  isBlocked = false;
  /** So many of its jobs are to stop. */
  cancelled = 0;

  /** @param onEnd - called when the thread ends, for whatever reason: it takes no more jobs; perhaps more than once */
  constructor(url: URL, onEnd: () => void) {
    this.#onEnd = onEnd;
    this.#worker = new Worker(url, { name: "berth-layer", stdin: false });
    // The worker is ours and posts answers only.
    this.#worker.on("message", ({ job, outcome }: LayerAnswer) => this.#pending.get(job)?.resolve(outcome));
    this.#worker.on("error", (error) => this.#fail(wrapError(error, "layer worker")));
    this.#worker.on("messageerror", (error) => this.#fail(wrapError(error, "layer worker")));
    this.#worker.on("exit", (code) => this.#fail(internal(`layer worker ended with status ${code}`)));
  }

  /** So many jobs have begun and not ended. */
  get jobs(): number {
    return this.#pending.size;
  }

  /** Does a job and resolves with its outcome. @throws internal - the thread ended before */
  async run(work: LayerJob, transfer: readonly Transferable[]): Promise<LayerOutcome> {
    clearTimeout(this.#idle);
    this.#worker.ref();
    const job = this.#next++;
    const outcome = Promise.withResolvers<LayerOutcome>();
    this.#pending.set(job, outcome);
    try {
      this.#worker.postMessage({ job, work }, [...transfer]);
      return await outcome.promise;
    } finally {
      this.#pending.delete(job);
    }
  }

  /** Ends the thread when it has had nothing to do for so long. It keeps no process alive meanwhile. */
  endAfter(idleMs: number): void {
    this.#worker.unref();
    this.#idle = setTimeout(() => void this.end(), idleMs);
    this.#idle.unref();
  }

  /** Ends the thread, and with it what it does. */
  async end(): Promise<void> {
    clearTimeout(this.#idle);
    this.#onEnd();
    await this.#worker.terminate();
  }

  #fail(error: unknown): void {
    this.#onEnd();
    for (const { reject } of this.#pending.values()) reject(error);
  }
}
