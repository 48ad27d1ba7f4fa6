import { Worker } from "node:worker_threads";

import type { CallOptions } from "@berth/core/any";
import type { SnapshotUsage } from "@berth/core/snapshots";
import { Turns } from "@berth/core/turns";
import { internal, unavailable, wrapError } from "@berth/errors";

import type { RemoteError, TreeJob, TreeOutcome, TreeTask } from "./files/tree-job.ts";

/** Options of {@link TreeWorkers}. */
export interface TreeWorkersOptions {
  /** Trees walked at once; default 2. */
  readonly workers?: number;
  /** A thread that has had nothing to do for so long is ended; default 10 seconds. */
  readonly idleMs?: number;
}

interface IdleWorker {
  readonly worker: Worker;
  readonly timer: NodeJS.Timeout;
}

/**
 * Threads that measure, copy and remove trees of files: there a walk costs a quarter of what it costs through the pool of
 * libuv, and blocks nobody. Started when there is work, ended when there has been none. Disposing cancels what runs and waits for it.
 */
export class TreeWorkers implements AsyncDisposable {
  readonly #turns: Turns;
  readonly #idleMs: number;
  readonly #idle: IdleWorker[] = [];
  readonly #running = new Set<Promise<unknown>>();
  readonly #stopping = new AbortController();

  constructor(options: TreeWorkersOptions = {}) {
    this.#turns = new Turns(options.workers ?? 2);
    this.#idleMs = options.idleMs ?? 10_000;
  }

  /**
   * This measures a tree as `du` does: the blocks of each inode once, the top directory included. With `base`, a tree that this
   * one was a snapshot of, only what has changed since counts.
   */
  usage(path: string, options: CallOptions & { readonly base?: string | undefined } = {}): Promise<SnapshotUsage> {
    return this.#submit({ kind: "usage", path, base: options.base }, options);
  }

  /** This copies the content and attributes of one directory into another, which exists. */
  async copy(from: string, to: string, options: CallOptions = {}): Promise<void> {
    await this.#submit({ kind: "copy", from, to }, options);
  }

  /** This copies one file to a new name, holes as holes, and puts it on disk. */
  async copyFile(from: string, to: string, options: CallOptions = {}): Promise<void> {
    await this.#submit({ kind: "copy-file", from, to }, options);
  }

  /** This removes a tree of any depth and with any names; one that is not there is fine. */
  async remove(path: string, options: CallOptions = {}): Promise<void> {
    await this.#submit({ kind: "remove", path }, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort(unavailable("snapshotter has stopped"));
    await Promise.allSettled(this.#running);
    for (const { worker, timer } of this.#idle.splice(0)) {
      clearTimeout(timer);
      await worker.terminate();
    }
  }

  async #submit(task: TreeTask, { signal }: CallOptions): Promise<SnapshotUsage> {
    const stopped = this.#stopping.signal;
    const either = signal === undefined ? stopped : AbortSignal.any([signal, stopped]);
    either.throwIfAborted();
    const running = this.#inTurn(task, either);
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
    }
  }

  async #inTurn(task: TreeTask, signal: AbortSignal): Promise<SnapshotUsage> {
    using _turn = await this.#turns.acquire({ signal });
    signal.throwIfAborted();
    return await this.#run(task, signal);
  }

  /** Rejects a cancelled task only when its thread has stopped, so that nothing is written afterwards. */
  async #run(task: TreeTask, signal: AbortSignal): Promise<SnapshotUsage> {
    const cancelled = new Int32Array(new SharedArrayBuffer(4));
    const cancel = (): void => void Atomics.store(cancelled, 0, 1);
    const worker = this.#take();
    signal.addEventListener("abort", cancel, { once: true });
    try {
      const outcome = await converse(worker, { task, cancelled });
      if ("usage" in outcome) return outcome.usage;
      signal.throwIfAborted();
      throw wrapError(toError(outcome.error), `${task.kind} of a tree`);
    } finally {
      signal.removeEventListener("abort", cancel);
      this.#giveBack(worker);
    }
  }

  #take(): Worker {
    const idle = this.#idle.pop();
    if (idle === undefined) return new Worker(workerUrl(), { name: "berth-trees", stdin: false });
    clearTimeout(idle.timer);
    idle.worker.ref();
    return idle.worker;
  }

  #giveBack(worker: Worker): void {
    // -1 after it has exited.
    if (worker.threadId === -1) return;
    // An idle thread must not keep the process alive.
    worker.unref();
    const timer = setTimeout(() => {
      this.#idle.splice(this.#idle.indexOf(idle), 1);
      void worker.terminate();
    }, this.#idleMs);
    timer.unref();
    const idle = { worker, timer };
    this.#idle.push(idle);
  }
}

async function converse(worker: Worker, job: TreeJob): Promise<TreeOutcome> {
  const { promise, resolve, reject } = Promise.withResolvers<TreeOutcome>();
  const failed = (error: unknown): void => reject(wrapError(error, "tree worker"));
  const exited = (code: number): void => reject(internal(`tree worker ended with status ${code}`));
  // The worker is ours and posts outcomes only.
  worker.once("message", resolve).once("error", failed).once("exit", exited);
  try {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- threads have no origins
    worker.postMessage(job);
    return await promise;
  } finally {
    worker.off("message", resolve).off("error", failed).off("exit", exited);
  }
}

function toError({ message, code }: RemoteError): Error {
  return Object.assign(new Error(message), code === undefined ? {} : { code });
}

/** The worker lies beside this file and is of the same kind: TypeScript in a checkout, JavaScript in a package or bundle. */
function workerUrl(): URL {
  const extension = /\.[cm]?[jt]s$/.exec(new URL(import.meta.url).pathname)?.[0] ?? ".js";
  return new URL(`./tree-worker${extension}`, import.meta.url);
}
