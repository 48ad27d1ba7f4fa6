/** Share of a processor that a process at rest may use. */
const REST_SHARE = 0.02;

/** Either makes it worth the while: work that left garbage, or a change of size, up or down. A thread that ends leaves pages to its allocators. */
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
}

/** This tells when a process rests after its memory has changed much, from samples of it. Threads count too: their work is the process's. */
export class RestWatch {
  #last: MemorySample | undefined;
  #atReturn: Pick<MemorySample, "cpuMs" | "rss"> = { cpuMs: 0, rss: 0 };
  #notBefore = 0;

  /** This takes a sample and tells whether memory should be returned now; if so, {@link returned} must follow. */
  sample(now: MemorySample): boolean {
    const last = this.#last;
    this.#last = now;
    if (last === undefined || now.at < this.#notBefore) return false;
    const isQuiet = now.cpuMs - last.cpuMs <= (now.at - last.at) * REST_SHARE;
    const { cpuMs, rss } = this.#atReturn;
    return isQuiet && (now.cpuMs - cpuMs >= WORTH_CPU_MS || Math.abs(now.rss - rss) >= WORTH_BYTES);
  }

  /** This takes note of what a return left. What it cost is counted in processor time: the clock of a busy machine says little. */
  returned(left: MemorySample): void {
    const costMs = left.cpuMs - (this.#last ?? left).cpuMs;
    this.#atReturn = left;
    this.#notBefore = left.at + costMs * COST_DIVISOR;
    // Its own work is not the process's.
    this.#last = undefined;
  }
}
