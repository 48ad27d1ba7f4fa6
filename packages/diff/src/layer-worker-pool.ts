import { availableParallelism } from "node:os";
import { type Transferable, Worker } from "node:worker_threads";

import { canceled, internal, unavailable, wrapError } from "@berth/errors";

import type { ApplyJob, CompareJob, CopyJob, LayerJob, LayerOutcome, LayerSummary } from "./layer-job.ts";
import { fromRemoteError } from "./remote-error.ts";

export interface LayerWorkerPoolOptions {
  /** Layers applied or made at once; as many as there are processors by default, two at least. */
  readonly workers?: number | undefined;
  /** The module that a worker runs: `layer-worker` of this package; needed where this package was bundled into a file. */
  readonly workerUrl?: URL | undefined;
  /** A worker that has had nothing to do for so long is ended; default 10 seconds. */
  readonly idleMs?: number | undefined;
}

/** A job without what the pool itself adds. */
export type PooledJob = Omit<ApplyJob, "cancelled"> | Omit<CopyJob, "cancelled"> | Omit<CompareJob, "cancelled">;

/** A worker that does not stop for so long after it was told to is ended by force. */
const STOP_TIMEOUT_MS = 10_000;

/**
 * Threads that apply and make layers, each one at a time. They are started when there is work and ended when there has been none.
 * Disposing cancels what runs and waits for it.
 */
export class LayerWorkerPool implements AsyncDisposable {
  readonly #url: URL;
  readonly #limit: number;
  readonly #idleMs: number;
  readonly #idle: { readonly worker: Worker; readonly timer: NodeJS.Timeout }[] = [];
  readonly #waiting: (() => void)[] = [];
  #taken = 0;
  readonly #running = new Set<Promise<unknown>>();
  readonly #stopping = new AbortController();

  constructor(options: LayerWorkerPoolOptions = {}) {
    this.#url = options.workerUrl ?? defaultWorkerUrl();
    this.#limit = options.workers ?? Math.max(2, availableParallelism());
    this.#idleMs = options.idleMs ?? 10_000;
  }

  /**
   * Runs a job when a thread is free. When the signal is aborted, it rejects as soon as the thread has stopped, so that
   * nothing is written afterwards.
   *
   * @throws unavailable - the pool is disposed
   */
  async run(
    job: PooledJob,
    options: { readonly signal?: AbortSignal | undefined; readonly transfer?: readonly Transferable[] } = {},
  ): Promise<LayerSummary> {
    if (this.#stopping.signal.aborted) throw unavailable("layer workers have stopped");
    const signal = AbortSignal.any([this.#stopping.signal, ...(options.signal === undefined ? [] : [options.signal])]);
    await this.#acquire(signal);
    const running = this.#runNow(job, signal, options.transfer ?? []);
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
      this.#release();
    }
  }

  /** Waits for one of the slots; they are given out in the order of the calls. */
  async #acquire(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#taken < this.#limit) {
      this.#taken++;
      return;
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const abort = (): void => {
      const place = this.#waiting.indexOf(resolve);
      // Not in line any more: the slot is there, and whoever runs with it sees the signal.
      if (place >= 0) this.#waiting.splice(place, 1);
      reject(canceled("work on the layer was cancelled", { cause: signal.reason }));
    };
    this.#waiting.push(resolve);
    signal.addEventListener("abort", abort, { once: true });
    await promise.finally(() => signal.removeEventListener("abort", abort));
  }

  #release(): void {
    const next = this.#waiting.shift();
    // A slot that is passed on stays taken.
    if (next === undefined) this.#taken--;
    else next();
  }

  async #runNow(job: PooledJob, signal: AbortSignal, transfer: readonly Transferable[]): Promise<LayerSummary> {
    const cancelled = new Int32Array(new SharedArrayBuffer(4));
    const worker = this.#take();
    let force: NodeJS.Timeout | undefined;
    const abort = (): void => {
      Atomics.store(cancelled, 0, 1);
      force = setTimeout(() => void worker.terminate(), STOP_TIMEOUT_MS);
    };
    try {
      if (signal.aborted) abort();
      else signal.addEventListener("abort", abort, { once: true });
      const outcome = await converse(worker, { ...job, cancelled }, transfer);
      if (signal.aborted) throw canceled("work on the layer was cancelled", { cause: signal.reason });
      if (outcome.kind === "failed") throw fromRemoteError(outcome.error);
      return outcome.layer;
    } finally {
      clearTimeout(force);
      signal.removeEventListener("abort", abort);
      this.#giveBack(worker);
    }
  }

  #take(): Worker {
    const idle = this.#idle.pop();
    if (idle === undefined) return new Worker(this.#url, { name: "berth-layer", stdin: false });
    clearTimeout(idle.timer);
    idle.worker.ref();
    return idle.worker;
  }

  #giveBack(worker: Worker): void {
    // -1 after it has exited.
    if (worker.threadId === -1) return;
    if (this.#stopping.signal.aborted) return void worker.terminate();
    worker.unref();
    const timer = setTimeout(() => {
      const place = this.#idle.findIndex((idle) => idle.worker === worker);
      if (place >= 0) this.#idle.splice(place, 1);
      void worker.terminate();
    }, this.#idleMs);
    timer.unref();
    this.#idle.push({ worker, timer });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort(unavailable("layer workers have stopped"));
    await Promise.allSettled(this.#running);
    for (const { worker, timer } of this.#idle.splice(0)) {
      clearTimeout(timer);
      await worker.terminate();
    }
  }
}

/** Gives a job to a worker and waits for its answer, or for the end of the worker. */
async function converse(worker: Worker, job: LayerJob, transfer: readonly Transferable[]): Promise<LayerOutcome> {
  const { promise, resolve, reject } = Promise.withResolvers<LayerOutcome>();
  const failed = (error: unknown): void => reject(wrapError(error, "layer worker"));
  const exited = (code: number): void => reject(internal(`layer worker ended with status ${code}`));
  // The worker is ours and posts outcomes only.
  worker.once("message", resolve).once("error", failed).once("messageerror", failed).once("exit", exited);
  try {
    worker.postMessage(job, [...transfer]);
    return await promise;
  } finally {
    worker.off("message", resolve).off("error", failed).off("messageerror", failed).off("exit", exited);
  }
}

/** The worker lies beside this file and is of the same kind: TypeScript in a checkout, JavaScript in a package. */
function defaultWorkerUrl(): URL {
  const extension = /\.[cm]?[jt]s$/.exec(new URL(import.meta.url).pathname)?.[0] ?? ".js";
  return new URL(`./layer-worker${extension}`, import.meta.url);
}
