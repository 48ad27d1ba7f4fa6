import { availableParallelism } from "node:os";
import type { Transferable } from "node:worker_threads";

import { canceled, unavailable } from "@berth/errors";

import type { ApplyJob, CompareJob, CopyJob, LayerSummary } from "./layer-job.ts";
import { LayerThread } from "./layer-thread.ts";
import { fromRemoteError } from "./remote-error.ts";
import { type WorkTurn, WorkTurns } from "./work-turns.ts";

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

/** How a job is run. */
export interface RunOptions {
  readonly signal?: AbortSignal | undefined;
  readonly transfer?: readonly Transferable[];
  /** Called when the job begins: whoever brings it its bytes says when it has to wait for them. */
  readonly onTurn?: (turn: WorkTurn) => void;
}

/** A worker that does not stop for so long after it was told to is ended by force. */
const STOP_TIMEOUT_MS = 10_000;
/** Layers that have begun and wait for bytes: more than a transfer follows downloads, so that there is always room for one that is there. */
const MAX_WAITING = availableParallelism() + 2;

/**
 * Threads that apply and make layers. They are started when there is work and ended when there has been none. Each does one at a time, and
 * others while that waits for bytes that are still to come. Disposing cancels what runs and waits for it.
 */
export class LayerWorkerPool implements AsyncDisposable {
  readonly #url: URL;
  readonly #idleMs: number;
  readonly #threadLimit: number;
  readonly #threads = new Set<LayerThread>();
  readonly #turns: WorkTurns;
  readonly #running = new Set<Promise<unknown>>();
  readonly #stopping = new AbortController();

  constructor(options: LayerWorkerPoolOptions = {}) {
    this.#url = options.workerUrl ?? defaultWorkerUrl();
    this.#threadLimit = options.workers ?? Math.max(2, availableParallelism());
    this.#turns = new WorkTurns({
      atWork: this.#threadLimit,
      atOnce: this.#threadLimit + MAX_WAITING,
    });
    this.#idleMs = options.idleMs ?? 10_000;
  }

  /**
   * Runs a job when a thread is free. When the signal is aborted, it rejects as soon as the thread has stopped, so that
   * nothing is written afterwards.
   *
   * @throws unavailable - the pool is disposed
   */
  async run(job: PooledJob, options: RunOptions = {}): Promise<LayerSummary> {
    if (this.#stopping.signal.aborted) throw unavailable("layer workers have stopped");
    const signal = AbortSignal.any([this.#stopping.signal, ...(options.signal === undefined ? [] : [options.signal])]);
    using turn = await this.#turns.acquire(signal);
    options.onTurn?.(turn);
    const running = this.#runNow(job, signal, options.transfer ?? []);
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
    }
  }

  async #runNow(job: PooledJob, signal: AbortSignal, transfer: readonly Transferable[]): Promise<LayerSummary> {
    const cancelled = new Int32Array(new SharedArrayBuffer(4));
    const thread = this.#choose(job);
    let force: NodeJS.Timeout | undefined;
    const abort = (): void => {
      Atomics.store(cancelled, 0, 1);
      thread.cancelled++;
      // What others have there must not end with it; they come to their end, or are cancelled too.
      force = setInterval(() => thread.jobs === thread.cancelled && thread.end(), STOP_TIMEOUT_MS);
    };
    try {
      if (signal.aborted) abort();
      else signal.addEventListener("abort", abort, { once: true });
      const outcome = await thread.run({ ...job, cancelled }, transfer);
      signal.throwIfAborted();
      if (outcome.kind === "failed") throw fromRemoteError(outcome.error);
      return outcome.layer;
    } catch (error) {
      // Also where the thread was ended because of it.
      if (signal.aborted) throw canceled("work on the layer was cancelled", { cause: signal.reason });
      throw error;
    } finally {
      if (force !== undefined) thread.cancelled--;
      clearInterval(force);
      signal.removeEventListener("abort", abort);
      this.#rest(thread);
    }
  }

  /** The thread with the fewest jobs; a new one before two share one. A job that blocks its thread is alone there. */
  #choose(job: PooledJob): LayerThread {
    const isAlone = blocks(job);
    const open = [...this.#threads].filter((thread) => thread.jobs === 0 || !(isAlone || thread.isBlocked));
    const [best] = open.toSorted((one, other) => one.jobs - other.jobs);
    const chosen =
      best === undefined || (best.jobs > 0 && this.#threads.size < this.#threadLimit)
        ? new LayerThread(this.#url, () => this.#threads.delete(chosen))
        : best;
    this.#threads.add(chosen);
    chosen.isBlocked = isAlone;
    return chosen;
  }

  #rest(thread: LayerThread): void {
    if (thread.jobs > 0) return;
    if (this.#stopping.signal.aborted || this.#threads.size > this.#threadLimit) void thread.end();
    else thread.endAfter(this.#idleMs);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort(unavailable("layer workers have stopped"));
    await Promise.allSettled(this.#running);
    await Promise.all([...this.#threads].map((thread) => thread.end()));
  }
}

/** Waiting for a program, or for whoever takes bytes, holds up whatever else the thread has. */
function blocks(job: PooledJob): boolean {
  return job.kind !== "apply" || job.source.kind === "pipe";
}

/** The worker lies beside this file and is of the same kind: TypeScript in a checkout, JavaScript in a package. */
function defaultWorkerUrl(): URL {
  const extension = /\.[cm]?[jt]s$/.exec(new URL(import.meta.url).pathname)?.[0] ?? ".js";
  return new URL(`./layer-worker${extension}`, import.meta.url);
}
