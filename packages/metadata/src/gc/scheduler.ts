import type { CallOptions } from "@berth/core/any";
import type { Logger } from "@berth/core/log";
import { silentLogger } from "@berth/core/log";
import { unavailable, wrapError } from "@berth/errors";

import type { Metadata } from "../metadata.ts";
import type { GcStats } from "./collector.ts";

/** Options of {@link GcScheduler}; the names are those of containerd's configuration. */
export interface GcSchedulerOptions {
  /** The most of all time that collections may take, 0 … 0.5; 0 means once a second. */
  readonly pauseThreshold?: number;
  /** So many deletions bring a collection at once; fewer, or 0, leave them to the next regular one. */
  readonly deletionThreshold?: number;
  /** So many commits bring a collection; 0 for never. */
  readonly mutationThreshold?: number;
  readonly scheduleDelayMs?: number;
  /** Time to the first collection; 0 waits for a reason to collect. */
  readonly startupDelayMs?: number;
  readonly log?: Logger;
}

/** What a scheduler needs of a {@link Metadata}. */
export type Collectable = Pick<Metadata, "collect" | "onCommit" | "scheduleWith">;

/** Hears of a run that has ended; it must not throw. */
type RunListener = (run: { readonly pauseMs: number } | "failed") => void;

const DEFAULT_INTERVAL_MS = 1000;
const MIN_AVERAGE_MS = 5;
/** Added to the wait after a failure. */
const RETRY_MS = 1000;

/**
 * Decides when to collect: by what has changed, on request, and so seldom that collecting takes no more than its share of the
 * time. Deletions with `sync` come here. Disposing it fails who waits and lets a run under way end.
 *
 * @see containerd plugins/gc/scheduler.go
 */
export class GcScheduler implements Disposable {
  readonly #metadata: Collectable;
  /** What holds of the options that were given, each within its limits. */
  readonly options: Required<Omit<GcSchedulerOptions, "log">>;
  readonly #log: Logger;
  readonly #resources = new DisposableStack();
  readonly #listeners = new Set<RunListener>();
  #timer: { readonly handle: NodeJS.Timeout; readonly at: number } | undefined;
  #running = false;
  #triggered = false;
  #deletions = 0;
  #mutations = 0;
  #runs = 0;
  #totalMs = 0;
  #lastAt = 0;
  #intervalMs = DEFAULT_INTERVAL_MS;
  #waiters: PromiseWithResolvers<void>[] = [];
  #stopped = false;

  constructor(metadata: Collectable, options: GcSchedulerOptions = {}) {
    this.#metadata = metadata;
    this.#log = options.log ?? silentLogger;
    this.options = {
      pauseThreshold: Math.min(0.5, Math.max(0, options.pauseThreshold ?? 0.02)),
      deletionThreshold: options.deletionThreshold ?? 0,
      mutationThreshold: Math.max(0, options.mutationThreshold ?? 100),
      scheduleDelayMs: Math.max(0, options.scheduleDelayMs ?? 0),
      startupDelayMs: Math.max(0, options.startupDelayMs ?? 100),
    };
    this.#resources.use(metadata.onCommit((dirty) => this.#note(dirty)));
    this.#resources.use(metadata.scheduleWith((callOptions) => this.collect(callOptions)));
    if (this.options.startupDelayMs > 0) this.#arm(this.options.startupDelayMs);
  }

  /** This asks for a collection and resolves when one that began after the call has ended. */
  async collect({ signal }: CallOptions = {}): Promise<void> {
    signal?.throwIfAborted();
    if (this.#stopped) throw unavailable("garbage collector has stopped");
    const waiter = Promise.withResolvers<void>();
    const abort = (): void => waiter.reject(signal?.reason);
    signal?.addEventListener("abort", abort, { once: true });
    this.#waiters.push(waiter);
    this.#triggered = true;
    this.#schedule();
    try {
      await waiter.promise;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  /** This tells of each run that has ended, until the result is disposed. */
  onRun(listener: RunListener): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  [Symbol.dispose](): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#resources.dispose();
    clearTimeout(this.#timer?.handle);
    for (const waiter of this.#waiters.splice(0)) waiter.reject(unavailable("garbage collector is stopping"));
  }

  #note(dirty: boolean): void {
    this.#mutations++;
    if (dirty) this.#deletions++;
    this.#schedule();
  }

  /** This plans a run where something has happened that wants one earlier than planned. */
  #schedule(): void {
    if (this.#stopped || this.#running) return;
    const { deletionThreshold, mutationThreshold, scheduleDelayMs } = this.options;
    const deleted = deletionThreshold > 0 && this.#deletions >= deletionThreshold;
    const planned = this.#timer !== undefined;
    // After the first run a threshold only says what is collected at once: fewer deletions are for the next regular run.
    const regular = deletionThreshold === 0 || this.#lastAt > 0;
    const changed = (regular && this.#deletions > 0) || (mutationThreshold > 0 && this.#mutations >= mutationThreshold);
    if (!this.#triggered && !deleted && (planned || !changed)) return;
    // A change alone waits as long as it would for the next of regular runs.
    const delayMs = this.#triggered || deleted || this.#lastAt === 0 ? scheduleDelayMs : this.#intervalMs;
    if (this.#timer !== undefined && this.#timer.at <= performance.now() + delayMs) return;
    this.#arm(delayMs);
  }

  #arm(delayMs: number): void {
    clearTimeout(this.#timer?.handle);
    const handle = setTimeout(() => void this.#fire(), delayMs);
    // Collecting garbage is no reason to stay alive.
    handle.unref();
    this.#timer = { handle, at: performance.now() + delayMs };
  }

  async #fire(): Promise<void> {
    const plannedAt = this.#timer?.at ?? performance.now();
    this.#timer = undefined;
    // Nothing to do: the next change plans a run, so that an idle daemon does not wake up.
    if (!this.#isWorthwhile()) return;
    const waiters = this.#waiters.splice(0);
    this.#running = true;
    this.#triggered = false;
    this.#deletions = 0;
    this.#mutations = 0;
    try {
      this.#succeeded(await this.#metadata.collect());
      for (const waiter of waiters) waiter.resolve();
      this.#again(this.#intervalMs);
    } catch (error) {
      this.#log.error("garbage collection failed", { error });
      for (const listener of this.#listeners) listener("failed");
      for (const waiter of waiters) waiter.reject(wrapError(error, "gc failed"));
      this.#again(this.#lastAt === 0 ? this.options.scheduleDelayMs : plannedAt - this.#lastAt + RETRY_MS);
    }
  }

  #isWorthwhile(): boolean {
    const { mutationThreshold } = this.options;
    if (this.#lastAt === 0 || this.#triggered || this.#deletions > 0) return true;
    return mutationThreshold > 0 && this.#mutations >= mutationThreshold;
  }

  #succeeded(stats: GcStats): void {
    this.#lastAt = performance.now();
    this.#runs++;
    this.#totalMs += stats.metadataMs;
    const averageMs = Math.max(MIN_AVERAGE_MS, this.#totalMs / this.#runs);
    const { pauseThreshold } = this.options;
    this.#intervalMs = pauseThreshold > 0 ? averageMs / pauseThreshold - averageMs : DEFAULT_INTERVAL_MS;
    for (const listener of this.#listeners) listener({ pauseMs: stats.metadataMs });
    this.#log.debug("garbage collected", { d: stats.metadataMs, removed: Object.fromEntries(stats.removed) });
  }

  #again(delayMs: number): void {
    this.#running = false;
    if (this.#stopped) return;
    this.#arm(delayMs);
    // What came in while the run was under way counts from now on.
    this.#schedule();
  }
}
