import { handOver, peekExited, type ExitStatus, waitPid } from "./wait.ts";
import { spawn, type SpawnOptions } from "./spawn.ts";

/** How a `ChildReaper` reaps. */
export interface ChildReaperOptions {
  /**
   * `registered` waits only for processes that this reaper started, so that `node:child_process` works beside it.
   * `all` takes every child of this process, orphans included: `node:child_process` must not be used in the same process.
   */
  readonly mode: "all" | "registered";
  /** Mode `all`: a child ended that this reaper did not start. Must not throw. */
  readonly onOrphan?: (pid: number, status: ExitStatus) => void;
}

/** A process that was started, and its end. */
export interface Child {
  readonly pid: number;
  readonly exited: Promise<ExitStatus>;
}

/** Exits of orphans that nobody has asked for yet; an id comes back only after the kernel has used all others. */
const REMEMBERED = 4096;
const SAFETY_INTERVAL_MS = 1000;

/**
 * This owns the children of a process: it starts them, and takes each exit status once.
 *
 * One per process and mode `all`. Works on the main thread only, where Node delivers SIGCHLD. While a child runs, the event
 * loop stays alive. Disposing stops the reaping and leaves the children alone; promises that are pending stay so.
 */
export class ChildReaper implements Disposable {
  readonly #options: ChildReaperOptions;
  readonly #waiting = new Map<number, PromiseWithResolvers<ExitStatus>>();
  readonly #orphans = new Map<number, ExitStatus>();
  readonly #onSignal = (): void => this.sweep();
  #timer: NodeJS.Timeout | undefined;
  #disposed = false;

  constructor(options: ChildReaperOptions) {
    this.#options = options;
    process.on("SIGCHLD", this.#onSignal);
    // what ended before the listener was there has sent its signal already
    this.sweep();
  }

  /** This starts a program. Its exit is seen even when it ends at once. @throws what `spawn` throws */
  spawn(options: SpawnOptions): Child {
    const pid = spawn(options);
    this.#orphans.delete(pid);
    return { pid, exited: this.#register(pid).promise };
  }

  /**
   * This resolves with the end of a process that another one started and that has become a child of this one.
   *
   * In mode `all` an exit that came before the call is remembered, and a process that is no child yet is awaited.
   * @throws ECHILD - mode `registered`: it is no child, or its status was taken
   */
  async wait(pid: number): Promise<ExitStatus> {
    const waiter = this.#waiting.get(pid);
    if (waiter) return await waiter.promise;
    const child = this.#findChild(pid);
    if (child === "none") {
      const ended = this.#orphans.get(pid);
      if (ended) return ended;
    }
    // a child that lives proves that what is remembered under its id was about an earlier process
    this.#orphans.delete(pid);
    if (typeof child === "object") this.#remember(child);
    return typeof child === "object" ? child : await this.#register(pid).promise;
  }

  /** This takes every exit that is there; it runs by itself on SIGCHLD. */
  sweep(): void {
    if (this.#options.mode === "all") this.#sweepAll();
    else this.#sweepRegistered();
    this.#keepAlive();
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    process.off("SIGCHLD", this.#onSignal);
    clearInterval(this.#timer);
  }

  #register(pid: number): PromiseWithResolvers<ExitStatus> {
    const present = this.#waiting.get(pid);
    if (present) return present;
    const waiter = Promise.withResolvers<ExitStatus>();
    // whoever awaits it sees the rejection; nobody has to
    waiter.promise.catch(() => undefined);
    this.#waiting.set(pid, waiter);
    this.#keepAlive();
    return waiter;
  }

  #sweepAll(): void {
    for (let pid = peekExited(); pid !== undefined; pid = peekExited()) {
      const status = waitPid(pid);
      if (!status) continue;
      const waiter = this.#take(pid);
      if (waiter) waiter.resolve(status);
      else if (!handOver(status)) {
        this.#remember(status);
        this.#options.onOrphan?.(pid, status);
      }
    }
  }

  #remember(status: ExitStatus): void {
    // set anew, so that the order of the map is that of the exits
    this.#orphans.delete(status.pid);
    this.#orphans.set(status.pid, status);
    const [oldest] = this.#orphans.keys();
    if (this.#orphans.size > REMEMBERED && oldest !== undefined) this.#orphans.delete(oldest);
  }

  /** What the kernel knows under an id: an exit, which is taken by this; a child that runs; no child. */
  #findChild(pid: number): ExitStatus | "running" | "none" {
    try {
      return waitPid(pid) ?? "running";
    } catch (error) {
      if (this.#options.mode === "registered") throw error;
      return "none";
    }
  }

  #sweepRegistered(): void {
    for (const pid of this.#waiting.keys()) {
      try {
        const status = waitPid(pid);
        if (status) this.#take(pid)?.resolve(status);
      } catch (error) {
        this.#take(pid)?.reject(error);
      }
    }
  }

  #take(pid: number): PromiseWithResolvers<ExitStatus> | undefined {
    const waiter = this.#waiting.get(pid);
    this.#waiting.delete(pid);
    return waiter;
  }

  /** A signal listener does not hold the event loop; the timer does, and finds what a lost signal would have told. */
  #keepAlive(): void {
    if (this.#waiting.size > 0 && !this.#disposed) {
      this.#timer ??= setInterval(this.#onSignal, SAFETY_INTERVAL_MS);
      return;
    }
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
