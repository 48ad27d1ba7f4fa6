import { canceled } from "@berth/errors";

/** A place among those who work, until it is disposed. */
export interface WorkTurn extends Disposable {
  /** Says that there is nothing to do until something comes: somebody else may work meanwhile. */
  pause(): void;
  /** Says that it has come. Nobody is waited for: for a while one more may work than should. */
  resume(): void;
}

/**
 * Lets so many work at once, in the order in which they ask. Those who wait for what comes from elsewhere do not count, so that they keep
 * nobody from work; but all together are bounded too, for each of them holds memory.
 */
export class WorkTurns {
  readonly #atWork: number;
  readonly #atOnce: number;
  #working = 0;
  #begun = 0;
  readonly #waiting = new Set<() => void>();

  /** @param atWork - so many work; `atOnce` - so many have begun and not ended */
  constructor({ atWork, atOnce }: { readonly atWork: number; readonly atOnce: number }) {
    this.#atWork = atWork;
    this.#atOnce = atOnce;
  }

  /** @throws canceled - the signal was aborted meanwhile */
  async acquire(signal: AbortSignal): Promise<WorkTurn> {
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<WorkTurn>();
    const begin = (): void => {
      this.#working++;
      this.#begun++;
      resolve(this.#turn());
    };
    const abort = (): void => {
      // Not in line any more: the turn is there, and whoever has it sees the signal.
      this.#waiting.delete(begin);
      reject(canceled("work on the layer was cancelled", { cause: signal.reason }));
    };
    this.#waiting.add(begin);
    signal.addEventListener("abort", abort, { once: true });
    this.#letIn();
    return promise.finally(() => signal.removeEventListener("abort", abort));
  }

  #turn(): WorkTurn {
    let state: "works" | "waits" | "ended" = "works";
    return {
      pause: () => {
        if (state !== "works") return;
        state = "waits";
        this.#working--;
        this.#letIn();
      },
      resume: () => {
        if (state !== "waits") return;
        state = "works";
        this.#working++;
      },
      [Symbol.dispose]: () => {
        if (state === "ended") return;
        if (state === "works") this.#working--;
        state = "ended";
        this.#begun--;
        this.#letIn();
      },
    };
  }

  #letIn(): void {
    for (const begin of this.#waiting) {
      if (this.#working >= this.#atWork || this.#begun >= this.#atOnce) return;
      this.#waiting.delete(begin);
      begin();
    }
  }
}
