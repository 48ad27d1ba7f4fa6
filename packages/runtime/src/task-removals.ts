import type { CallOptions } from "@berth/core/any";
import { raceSignal } from "@berth/core/race-signal";
import type { ExitStatus } from "@berth/core/runtime";

/** How long an answer is kept that nobody was there for: one who gave up asks again soon, or never. */
const KEEP_MS = 300_000;

interface Ending {
  readonly exit: ExitStatus;
  readonly keptUntilMs: number;
}

/**
 * Deletions of tasks. Each is made once, and to its end though nobody waits for it any more: the shim cannot be told to stop. The exit
 * status it ends with is not lost then, but kept for the one who asks again.
 */
export class TaskRemovals<T extends object> {
  readonly #running = new Map<T, Promise<ExitStatus>>();
  readonly #unheard = new Map<string, Ending>();

  /** This removes a task by `remove`, or waits for the removal that is under way; `name` is the task's. */
  async run(task: T, name: string, remove: () => Promise<ExitStatus>, { signal }: CallOptions): Promise<ExitStatus> {
    signal?.throwIfAborted();
    const exit = await raceSignal(this.#running.get(task) ?? this.#begin(task, name, remove), signal);
    if (this.#unheard.get(name)?.exit === exit) this.#unheard.delete(name);
    return exit;
  }

  /** This returns, once, how a task ended whose deletion nobody waited for to its end. */
  takeUnheard(name: string): ExitStatus | undefined {
    this.#forgetOld();
    const ending = this.#unheard.get(name);
    this.#unheard.delete(name);
    return ending?.exit;
  }

  /** This waits for those that are under way. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#running.values());
  }

  #begin(task: T, name: string, remove: () => Promise<ExitStatus>): Promise<ExitStatus> {
    const removal = remove()
      .then((exit) => this.#keep(name, exit))
      .finally(() => this.#running.delete(task));
    this.#running.set(task, removal);
    return removal;
  }

  #keep(name: string, exit: ExitStatus): ExitStatus {
    this.#forgetOld();
    this.#unheard.set(name, { exit, keptUntilMs: performance.now() + KEEP_MS });
    return exit;
  }

  #forgetOld(): void {
    const now = performance.now();
    for (const [name, { keptUntilMs }] of this.#unheard) if (keptUntilMs < now) this.#unheard.delete(name);
  }
}
