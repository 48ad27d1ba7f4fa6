import type { Bucket } from "../database/record-index.ts";
import type { Table } from "../database/table.ts";
import type { Mutation } from "../database/transaction.ts";
import type { LabelTarget } from "./label-references.ts";
import type { ReferenceRules } from "./references.ts";
import { inSlices } from "./slices.ts";

/** A record, or an item of a collector. */
export interface Node {
  readonly bucket: Bucket<unknown>;
  readonly key: string;
}

interface Visit extends Node {
  readonly flat: boolean;
  /** Where the index does not show it yet. */
  readonly record?: unknown;
}

/** Where nodes are found. */
export interface NodeSource {
  /** This returns the bucket of a group, made if need be: who asks is about to fill it. */
  bucket(table: Table<unknown>, namespace: string, group: string): Bucket<unknown>;
  findBucket(table: Table<unknown>, namespace: string, group: string): Bucket<unknown> | undefined;
}

/**
 * Finds out what is referred to, while others write. It reads the index as it goes; whatever is written meanwhile counts as
 * referred to, together with all that it holds ({@link Marker.markWritten}), so that a reference cannot slip from a record that
 * is still to be read to one that has been read.
 */
export class Marker {
  readonly #source: NodeSource;
  readonly #rules: ReferenceRules;
  /** What has been reached, with whether only flatly so. */
  readonly #reached = new Map<Bucket<unknown>, Map<string, boolean>>();
  /** What lives as long as something else does, by the place of the latter, which need not exist. */
  readonly #backReferences = new Map<string, Node[]>();
  readonly #stack: Visit[] = [];
  #edges: Iterator<Visit> | undefined;
  #count = 0;

  constructor(source: NodeSource, rules: ReferenceRules) {
    this.#source = source;
    this.#rules = rules;
  }

  /** Number of records reached. */
  get count(): number {
    return this.#count;
  }

  isMarked(bucket: Bucket<unknown>, key: string): boolean {
    return this.#reached.get(bucket)?.has(key) ?? false;
  }

  mark({ bucket, key, flat }: Visit): void {
    let reached = this.#reached.get(bucket);
    if (reached === undefined) this.#reached.set(bucket, (reached = new Map()));
    const before = reached.get(key);
    // A flat visit leaves things out that a full one has to come back for.
    if (before === false || before === flat) return;
    if (before === undefined) this.#count++;
    reached.set(key, flat);
    this.#stack.push({ bucket, key, flat });
  }

  /** This keeps `holder` for as long as there is `target`. All must be known before the first {@link Marker.drain}. */
  addBackReference({ table, group, key }: LabelTarget, holder: Node): void {
    const place = placeOf(table, holder.bucket.namespace, group, key);
    const holders = this.#backReferences.get(place);
    if (holders === undefined) this.#backReferences.set(place, [holder]);
    else holders.push(holder);
  }

  /** This is for each write while marking runs: the record stays for this time, and so does what it holds now. */
  markWritten({ table, path, record }: Mutation): void {
    if (record === undefined) return;
    const bucket = this.#source.bucket(table, path.namespace, path.group);
    this.mark({ bucket, key: path.key, flat: false });
    this.#stack.push({ bucket, key: path.key, flat: false, record });
  }

  /** This marks all that is referred to by what has been marked, in slices between which others run. */
  async drain(): Promise<void> {
    await inSlices(() => this.#step());
  }

  /** The same at one go, for the little that was written since {@link Marker.drain}. */
  drainNow(): void {
    while (this.#step());
  }

  /** This yields what a record holds, as the index shows it. */
  held(node: Node): Iterator<Node> {
    return this.#edgesOf({ ...node, flat: false });
  }

  /** One reference at a time: a lease may hold any number. */
  #step(): boolean {
    const edge = this.#edges?.next();
    if (edge !== undefined && edge.done !== true) {
      this.mark(edge.value);
      return true;
    }
    const visit = this.#stack.pop();
    this.#edges = visit === undefined ? undefined : this.#edgesOf(visit);
    return visit !== undefined;
  }

  *#edgesOf({ bucket, key, flat, record = bucket.get(key) }: Visit): Generator<Visit, undefined> {
    const { namespace } = bucket;
    if (!flat) yield* this.#heldBy(bucket.table, namespace, bucket.group, key);
    if (record === undefined) return;
    for (const reference of this.#rules.references(bucket, record, flat)) {
      const target = this.#source.findBucket(reference.table, namespace, reference.group);
      // A bucket that does not exist yet gets its first record by a write that is marked for itself.
      if (target !== undefined) yield { bucket: target, key: reference.key, flat: reference.flat };
      else if (!reference.flat) yield* this.#heldBy(reference.table, namespace, reference.group, reference.key);
    }
  }

  *#heldBy(table: Table<unknown>, namespace: string, group: string, key: string): Generator<Visit, undefined> {
    if (this.#backReferences.size === 0) return;
    for (const holder of this.#backReferences.get(placeOf(table, namespace, group, key)) ?? []) {
      yield { ...holder, flat: false };
    }
  }
}

function placeOf({ prefix }: Table<unknown>, namespace: string, group: string, key: string): string {
  return `${prefix}/${namespace}/${group.length}/${group}${key}`;
}
