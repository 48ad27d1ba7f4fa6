import { availableParallelism } from "node:os";
import { dirname } from "node:path";

import type { Logger } from "@berth/core/log";
import { Turns } from "@berth/core/turns";

import type { Bundle } from "./bundle.ts";
import { LineSplitter } from "./line-splitter.ts";
import type { ShimOutput } from "./shim-command.ts";

/** One run of a binary's `delete`: for the first bundle, and those beside it that have these ids. */
export interface DeleteRun {
  readonly bundle: Bundle;
  readonly binary: string;
  readonly moreIds: readonly string[];
  readonly timeoutMs: number;
  readonly onOutput?: (chunk: Uint8Array) => void;
}

/** How one bundle is asked for. */
export interface DeleteLimits {
  readonly timeoutMs: number;
  readonly onEnded?: ((output: ShimOutput) => void) | undefined;
}

interface Waiting extends PromiseWithResolvers<ShimOutput> {
  readonly bundle: Bundle;
  readonly binary: string;
  readonly timeoutMs: number;
  readonly onEnded: ((output: ShimOutput) => void) | undefined;
  /** Set where a run with others gave it no answer. */
  isAlone: boolean;
}

/** How {@link ShimDeletes} works. */
export interface ShimDeletesOptions {
  readonly run: (run: DeleteRun) => Promise<ShimOutput>;
  /** Whether a binary's `delete` takes several. */
  readonly takesMany: (binary: string) => boolean;
  readonly log: Logger;
}

/** A process of a shim takes some 50 ms to start, a container a few to remove: more than a pool has. */
const MANY = 128;
const EACH_FURTHER_MS = 250;
const MAX_LINE_BYTES = 4096;
const NOTHING = new Uint8Array(0);

/**
 * Runs `delete` for bundles whose shims are dead, a few at a time. What waits for its turn and is of one pool goes into one run: a pool leaves
 * many at once. Whom that gives no answer has a run of its own: one that hangs or fails is nobody else's loss.
 */
export class ShimDeletes {
  readonly #options: ShimDeletesOptions;
  readonly #turns = new Turns(Math.max(2, availableParallelism()));
  readonly #waiting: Waiting[] = [];

  constructor(options: ShimDeletesOptions) {
    this.#options = options;
  }

  /**
   * This returns what `delete` gave for one bundle. Where the container's processes are known to be gone before all is removed, `onEnded` is
   * called with what will be returned.
   * @throws as the run of a shim's command
   */
  async run(bundle: Bundle, binary: string, { timeoutMs, onEnded }: DeleteLimits): Promise<ShimOutput> {
    const own = { ...Promise.withResolvers<ShimOutput>(), bundle, binary, timeoutMs, onEnded, isAlone: false };
    this.#enqueue(own);
    return await own.promise;
  }

  #enqueue(own: Waiting): void {
    this.#waiting.push(own);
    void this.#turns.run(() => this.#next());
  }

  /** Nobody may be left: another's run has taken it along. */
  async #next(): Promise<void> {
    const [first] = this.#waiting;
    if (first === undefined) return;
    const isTaken = (other: Waiting): boolean => other === first || this.#goesWith(first, other);
    const taken = this.#waiting.filter(isTaken).slice(0, MANY);
    for (const each of taken) this.#waiting.splice(this.#waiting.indexOf(each), 1);
    if (taken.some(({ bundle: { id } }) => id !== first.bundle.id)) return await this.#runMany(first, taken);
    const { bundle, binary, timeoutMs } = first;
    try {
      const output = await this.#options.run({ bundle, binary, timeoutMs, moreIds: [] });
      for (const { resolve } of taken) resolve(output);
    } catch (error) {
      for (const { reject } of taken) reject(error);
    }
  }

  #goesWith(first: Waiting, other: Waiting): boolean {
    if (first.isAlone || other.isAlone) return false;
    const isBeside = dirname(other.bundle.path) === dirname(first.bundle.path);
    return other.binary === first.binary && isBeside && this.#options.takesMany(first.binary);
  }

  /** Each is told as soon as it has ended, and as soon as it is removed. */
  async #runMany({ bundle, binary, timeoutMs }: Waiting, taken: readonly Waiting[]): Promise<void> {
    const byId = Map.groupBy(taken, (each) => each.bundle.id);
    const lines = new LineSplitter(MAX_LINE_BYTES, (line) => {
      const [id = "", stage, answer = ""] = line.split(" ");
      const output = { status: 0, stdout: Buffer.from(answer, "base64"), stderr: NOTHING };
      for (const { resolve, onEnded } of byId.get(id) ?? []) (stage === "removed" ? resolve : onEnded)?.(output);
      if (stage === "removed") byId.delete(id);
    });
    const moreIds = [...byId.keys()].filter((id) => id !== bundle.id);
    const log = this.#options.log.with({ namespace: bundle.namespace });
    try {
      const { status, stderr } = await this.#options.run({
        bundle,
        binary,
        moreIds,
        timeoutMs: timeoutMs + EACH_FURTHER_MS * moreIds.length,
        onOutput: (chunk) => lines.push(chunk),
      });
      const warnings = new TextDecoder().decode(stderr).trim();
      if (warnings !== "") log.warn("cleanup warnings", { status, warnings });
    } catch (error) {
      log.warn("failed to clean up after several dead shims at once", { error });
    }
    for (const each of [...byId.values()].flat()) {
      each.isAlone = true;
      this.#enqueue(each);
    }
  }
}
