import { join } from "node:path";

import { debianTool, launcher, seededRandom, temporaryDirectory } from "@berth/testing";

import { KeptLog } from "./kept-log.ts";
import { type Harness, shimsOf, startHarness } from "./harness.ts";
import { TaskHistory } from "./task-history.ts";

const STEPS = 25;

/** Whose shim the tasks of a history have. */
export type ShimOwner = "Debian's shim" | "berth's shim";
export const SHIM_OWNERS: readonly ShimOwner[] = ["Debian's shim", "berth's shim"];

/** What became of a history; of one that went well nothing is told. */
interface HistoryResult {
  readonly failure: unknown;
  readonly history: readonly string[];
  /** What runtime and shims wrote last. */
  readonly log: readonly string[];
}

/** Histories one after the other in one place. Disposing ends the shims that are left. */
export class HistoryRuns implements AsyncDisposable {
  readonly #harness: Harness;
  readonly #isOwn: boolean;
  readonly #log: KeptLog;
  readonly #stack: AsyncDisposableStack;

  private constructor(harness: Harness, isOwn: boolean, log: KeptLog, stack: AsyncDisposableStack) {
    this.#harness = harness;
    this.#log = log;
    this.#isOwn = isOwn;
    this.#stack = stack;
  }

  static async open(owner: ShimOwner): Promise<HistoryRuns> {
    await using stack = new AsyncDisposableStack();
    const { path } = stack.use(await temporaryDirectory("histories"));
    const isOwn = owner === "berth's shim";
    const defaultShim = isOwn ? launcher("containerd-shim-berth-v2") : debianTool("containerd-shim-runc-v2");
    const log = new KeptLog();
    const options = { defaultShim, pooling: isOwn, poolSocketDir: join(path, "s"), log: log.logger() };
    return new HistoryRuns(stack.use(await startHarness(options)), isOwn, log, stack.move());
  }

  /** This runs the history of a seed; what is not as the model says comes back with what was done until then and the logs. */
  async run(seed: number): Promise<HistoryResult> {
    this.#log.clear();
    const history = new TaskHistory(this.#harness, seededRandom(seed), { id: `h${seed}`, isOwn: this.#isOwn });
    try {
      await history.run(STEPS);
      return { failure: undefined, history: [], log: [] };
    } catch (failure) {
      return { failure, history: history.done, log: this.#log.lines };
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { directory } = this.#harness;
    await this.#stack.disposeAsync();
    for (const pid of shimsOf(directory)) process.kill(pid, "SIGKILL");
  }
}
