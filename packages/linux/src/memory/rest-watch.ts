/** Share of a processor that a process at rest may use. */
const REST_SHARE = 0.02;

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

  /** This takes a sample and tells whether memory should be returned now; if so, {@link returned} must follow. */
  sample(now: MemorySample): boolean {
    const last = this.#last;
    this.#last = now;
    this.#mostThreads = Math.max(this.#mostThreads, now.threads);
    if (last === undefined || now.at < this.#notBefore) return false;
    const isQuiet = now.cpuMs - last.cpuMs <= (now.at - last.at) * REST_SHARE;
    return isQuiet && this.#isWorthIt(now);
  }

  #isWorthIt({ cpuMs, rss, threads }: MemorySample): boolean {
    const worked = cpuMs - this.#cpuMsAtReturn >= WORTH_CPU_MS;
    return worked || rss - this.#rssAtReturn >= WORTH_BYTES || threads < this.#mostThreads;
  }

  /** This takes note of what a return left. What it cost is counted in processor time: the clock of a busy machine says little. */
  returned(left: MemorySample): void {
    const costMs = left.cpuMs - (this.#last ?? left).cpuMs;
    this.#notBefore = left.at + costMs * COST_DIVISOR;
    this.#cpuMsAtReturn = left.cpuMs;
    this.#rssAtReturn = left.rss;
    this.#mostThreads = left.threads;
    // Its own work is not the process's.
    this.#last = undefined;
  }
}
