import type { Bucket, RecordIndex } from "../database/record-index.ts";
import type { Mutation } from "../database/transaction.ts";
import type { ReferenceRules } from "./references.ts";

/** How long marking may hold the event loop at a time. */
const SLICE_MS = 8;
/** Steps between two looks at the clock. */
const STEPS_PER_LOOK = 128;

interface Node {
  readonly bucket: Bucket<unknown>;
  readonly key: string;
  readonly flat: boolean;
}

/**
 * Finds out what is referred to, while others write. It reads the index as it goes; whatever is written meanwhile counts as
 * referred to, together with all that it holds ({@link Marker.markWritten}), so that a reference cannot slip from a record that
 * is still to be read to one that has been read.
 */
export class Marker {
  readonly #index: RecordIndex;
  readonly #rules: ReferenceRules;
  /** What has been reached, with whether only flatly so. */
  readonly #reached = new Map<Bucket<unknown>, Map<string, boolean>>();
  readonly #stack: Node[] = [];
  #count = 0;

  constructor(index: RecordIndex, rules: ReferenceRules) {
    this.#index = index;
    this.#rules = rules;
  }

  /** Number of records reached. */
  get count(): number {
    return this.#count;
  }

  isMarked(bucket: Bucket<unknown>, key: string): boolean {
    return this.#reached.get(bucket)?.has(key) ?? false;
  }

  mark(bucket: Bucket<unknown>, key: string, flat: boolean): void {
    let reached = this.#reached.get(bucket);
    if (reached === undefined) this.#reached.set(bucket, (reached = new Map()));
    const before = reached.get(key);
    // A flat visit leaves things out that a full one has to come back for.
    if (before === false || before === flat) return;
    if (before === undefined) this.#count++;
    reached.set(key, flat);
    this.#stack.push({ bucket, key, flat });
  }

  /** This is for each write while marking runs: the record stays for this time, and so does what it holds now. */
  markWritten({ table, path, record }: Mutation): void {
    if (record === undefined) return;
    const bucket = this.#index.bucket(table, path.namespace, path.group);
    this.mark(bucket, path.key, false);
    // The index does not show the new record yet.
    this.#markReferences(bucket, record, false);
  }

  /** This marks all that is referred to by what has been marked, in slices between which others run. */
  async drain(signal?: AbortSignal): Promise<void> {
    await inSlices(() => this.#step(), signal);
  }

  /** The same at one go, for the little that was written since {@link Marker.drain}. */
  drainNow(): void {
    while (this.#step());
  }

  #step(): boolean {
    const node = this.#stack.pop();
    if (node === undefined) return false;
    const record = node.bucket.get(node.key);
    if (record !== undefined) this.#markReferences(node.bucket, record, node.flat);
    return true;
  }

  #markReferences(bucket: Bucket<unknown>, record: unknown, flat: boolean): void {
    for (const reference of this.#rules.references(bucket, record, flat)) {
      const target = this.#index.findBucket(reference.table, bucket.namespace, reference.group);
      // A bucket that does not exist yet gets its first record by a write that is marked for itself.
      if (target !== undefined) this.mark(target, reference.key, reference.flat);
    }
  }
}

/** This repeats `step` until it returns false, and lets others run in between. */
export async function inSlices(step: () => boolean, signal?: AbortSignal): Promise<void> {
  for (let deadline = performance.now() + SLICE_MS, steps = 1; step(); steps++) {
    if (steps % STEPS_PER_LOOK !== 0 || performance.now() < deadline) continue;
    signal?.throwIfAborted();
    await nextTurn();
    deadline = performance.now() + SLICE_MS;
  }
}

/** This lets everything run that waits for the event loop. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
