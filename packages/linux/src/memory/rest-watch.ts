/** Share of a processor that a process at rest may use. */
const REST_SHARE = 0.02;

/**
 * So long is a rest: memory is wanted again by the next of several commands, and what V8 has optimized does not outlive a collection that
 * gives all back. Threads of pools end within this time.
 */
const REST_MS = 12_000;

/** A process that is never left alone for that long rests for one sample, once a return has been worth the while for a minute. */
const PATIENCE_MS = 60_000;

/** What makes it worth the while: work, which leaves garbage; growth; a thread that ended, for its pages stay with the allocators. */
const WORTH_CPU_MS = 150;
const WORTH_BYTES = 4 << 20;

/** Returns may not take more than one part in so many of a processor's time. */
const COST_DIVISOR = 50;

/** A process at one moment. */
export interface MemorySample {
  /** In milliseconds, of a clock that only goes forward. */
  readonly at: number;
  /** What all threads have used so far, in milliseconds. */
  readonly cpuMs: number;
  /** Resident set, in bytes. */
  readonly rss: number;
  readonly threads: number;
}

/** This tells when a process rests after work that may have left memory unused, from samples of it. Threads count too: their work is the process's. */
export class RestWatch {
  #last: MemorySample | undefined;
  #cpuMsAtReturn = 0;
  #rssAtReturn = 0;
  #mostThreads = 0;
  #notBefore = 0;
  #worthItSince: number | undefined;
  #quietSince: number | undefined;

  /** This takes a sample and tells whether memory should be returned now; if so, {@link returned} must follow. */
  sample(now: MemorySample): boolean {
    const last = this.#last;
    this.#last = now;
    this.#mostThreads = Math.max(this.#mostThreads, now.threads);
    if (last === undefined) return false;
    const isQuiet = now.cpuMs - last.cpuMs <= (now.at - last.at) * REST_SHARE;
    this.#quietSince = isQuiet ? (this.#quietSince ?? last.at) : undefined;
    if (!this.#isWorthIt(now)) return false;
    this.#worthItSince ??= now.at;
    if (this.#quietSince === undefined || now.at < this.#notBefore) return false;
    return now.at - this.#quietSince >= REST_MS || now.at - this.#worthItSince >= PATIENCE_MS;
  }

  #isWorthIt({ cpuMs, rss, threads }: MemorySample): boolean {
    const worked = cpuMs - this.#cpuMsAtReturn >= WORTH_CPU_MS;
    return worked || rss - this.#rssAtReturn >= WORTH_BYTES || threads < this.#mostThreads;
  }

  /** This takes note of what a return left. What it cost is counted in processor time: the clock of a busy machine says little. */
  returned(left: MemorySample): void {
    const costMs = left.cpuMs - (this.#last ?? left).cpuMs;
    this.#notBefore = left.at + costMs * COST_DIVISOR;
    this.#worthItSince = undefined;
    this.#quietSince = undefined;
    this.#cpuMsAtReturn = left.cpuMs;
    this.#rssAtReturn = left.rss;
    this.#mostThreads = left.threads;
    // Its own work is not the process's.
    this.#last = undefined;
  }
}
