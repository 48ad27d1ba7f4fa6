import { availableParallelism } from "node:os";
import { dirname } from "node:path";

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

interface Waiting extends PromiseWithResolvers<ShimOutput> {
  readonly bundle: Bundle;
  readonly binary: string;
  readonly timeoutMs: number;
}

/** A process of a shim takes some 50 ms to start, a container a few to remove. */
const MANY = 16;
const EACH_FURTHER_MS = 250;
const MAX_LINE_BYTES = 4096;
const NOTHING = new Uint8Array(0);

/**
 * Runs `delete` for bundles whose shims are dead, a few at a time. What waits for its turn and is of one pool goes into one run: a pool leaves
 * many at once.
 */
export class ShimDeletes {
  readonly #run: (run: DeleteRun) => Promise<ShimOutput>;
  readonly #takesMany: (binary: string) => boolean;
  readonly #turns = new Turns(Math.max(2, availableParallelism()));
  readonly #waiting: Waiting[] = [];

  constructor(run: (run: DeleteRun) => Promise<ShimOutput>, takesMany: (binary: string) => boolean) {
    this.#run = run;
    this.#takesMany = takesMany;
  }

  /** This returns what `delete` gave for one bundle. @throws as the run of a shim's command */
  async run(bundle: Bundle, binary: string, timeoutMs: number): Promise<ShimOutput> {
    const own: Waiting = { ...Promise.withResolvers<ShimOutput>(), bundle, binary, timeoutMs };
    this.#waiting.push(own);
    void this.#turns.run(() => this.#next());
    return await own.promise;
  }

  /** Nobody may be left: another's run has taken it along. */
  async #next(): Promise<void> {
    const [first] = this.#waiting;
    if (first === undefined) return;
    const isTaken = (other: Waiting): boolean => other === first || this.#goesWith(first, other);
    const taken = this.#waiting.filter(isTaken).slice(0, MANY);
    for (const each of taken) this.#waiting.splice(this.#waiting.indexOf(each), 1);
    try {
      if (taken.length === 1) first.resolve(await this.#run({ ...first, moreIds: [] }));
      else await this.#runMany(first, taken);
    } catch (error) {
      for (const { reject } of taken) reject(error);
    }
  }

  #goesWith(first: Waiting, other: Waiting): boolean {
    const isBeside = dirname(other.bundle.path) === dirname(first.bundle.path);
    return other.binary === first.binary && isBeside && this.#takesMany(first.binary);
  }

  /** Each is told as soon as it is removed. */
  async #runMany(first: Waiting, taken: readonly Waiting[]): Promise<void> {
    const byId = new Map(taken.map((each) => [each.bundle.id, each]));
    const lines = new LineSplitter(MAX_LINE_BYTES, (line) => {
      const [id = "", answer = ""] = line.split(" ");
      byId.get(id)?.resolve({ status: 0, stdout: Buffer.from(answer, "base64"), stderr: NOTHING });
    });
    const { status, stderr } = await this.#run({
      bundle: first.bundle,
      binary: first.binary,
      moreIds: taken.slice(1).map(({ bundle }) => bundle.id),
      timeoutMs: first.timeoutMs + EACH_FURTHER_MS * (taken.length - 1),
      onOutput: (chunk) => lines.push(chunk),
    });
    // for those that have their answer this does nothing
    for (const { resolve } of taken) resolve({ status: status || 1, stdout: NOTHING, stderr });
  }
}
