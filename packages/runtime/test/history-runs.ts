import { join } from "node:path";

import { debianTool, launcher, seededRandom, temporaryDirectory } from "@berth/testing";

import { type Harness, shimsOf, startHarness } from "./harness.ts";
import { TaskHistory } from "./task-history.ts";

const STEPS = 25;

/** Whose shim the tasks of a history have. */
export type ShimOwner = "Debian's shim" | "berth's shim";
export const SHIM_OWNERS: readonly ShimOwner[] = ["Debian's shim", "berth's shim"];

/** Histories one after the other in one place. Disposing ends the shims that are left. */
export class HistoryRuns implements AsyncDisposable {
  readonly #harness: Harness;
  readonly #isOwn: boolean;
  readonly #stack: AsyncDisposableStack;

  private constructor(harness: Harness, isOwn: boolean, stack: AsyncDisposableStack) {
    this.#harness = harness;
    this.#isOwn = isOwn;
    this.#stack = stack;
  }

  static async open(owner: ShimOwner): Promise<HistoryRuns> {
    await using stack = new AsyncDisposableStack();
    const { path } = stack.use(await temporaryDirectory("histories"));
    const isOwn = owner === "berth's shim";
    const defaultShim = isOwn ? launcher("containerd-shim-berth-v2") : debianTool("containerd-shim-runc-v2");
    const harness = stack.use(await startHarness({ defaultShim, pooling: isOwn, poolSocketDir: join(path, "s") }));
    return new HistoryRuns(harness, isOwn, stack.move());
  }

  /** This runs the history of a seed; what is not as the model says comes back with what was done until then. */
  async run(seed: number): Promise<{ readonly failure: unknown; readonly history: readonly string[] }> {
    const history = new TaskHistory(this.#harness, seededRandom(seed), { id: `h${seed}`, isOwn: this.#isOwn });
    try {
      await history.run(STEPS);
      return { failure: undefined, history: [] };
    } catch (failure) {
      return { failure, history: history.done };
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { directory } = this.#harness;
    await this.#stack.disposeAsync();
    for (const pid of shimsOf(directory)) process.kill(pid, "SIGKILL");
  }
}
