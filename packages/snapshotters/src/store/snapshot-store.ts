import type { Labels } from "@berth/core/labels";
import { noLabels, validateLabels } from "@berth/core/labels";
import type { SnapshotKind, SnapshotUsage } from "@berth/core/snapshots";
import { alreadyExists, failedPrecondition, invalidArgument, notFound } from "@berth/errors";

import { SnapshotDatabase, type SnapshotDatabaseOptions, type SnapshotTransaction } from "./snapshot-database.ts";
import { snapshotKey } from "./snapshot-key.ts";
import type { SnapshotRecord } from "./snapshot-record.ts";
import { updateLabels, withoutEmpty } from "./update-labels.ts";

/** What {@link SnapshotStore.create} needs. */
export interface NewSnapshot {
  readonly id: number;
  readonly kind: Exclude<SnapshotKind, "committed">;
  readonly key: string;
  readonly parent: string;
  readonly labels: Labels | undefined;
}

/** What {@link SnapshotStore.commit} needs. */
export interface SnapshotCommit {
  readonly key: string;
  readonly name: string;
  readonly usage: SnapshotUsage;
  readonly labels: Labels | undefined;
  /** Rebase onto this parent. */
  readonly parent: string | undefined;
}

interface Lookup {
  find(key: string): SnapshotRecord | undefined;
}

const noUsage: SnapshotUsage = { size: 0, inodes: 0 };

/**
 * Keys, kinds, parents and labels of the snapshots of one snapshotter: the part that all drivers share.
 *
 * Reads answer from memory and see what has been committed. Updates are durable when their promise resolves, and run one
 * after the other.
 *
 * @see containerd core/snapshots/storage
 */
export class SnapshotStore implements AsyncDisposable {
  readonly #database: SnapshotDatabase;
  readonly #committed: Lookup;
  #nextId: number;

  private constructor(database: SnapshotDatabase, firstId: number) {
    this.#database = database;
    this.#committed = { find: (key) => database.records.get(key) };
    this.#nextId = firstId;
  }

  /** This opens a store. `usedIds` are ids seen on disk, which must not be given again. */
  static async open(
    options: SnapshotDatabaseOptions & { readonly usedIds?: Iterable<number> },
  ): Promise<SnapshotStore> {
    const database = await SnapshotDatabase.open(options);
    let last = database.lastId;
    for (const id of options.usedIds ?? []) last = Math.max(last, id);
    return new SnapshotStore(database, last + 1);
  }

  /** This gives an id that no snapshot has had. */
  nextId(): number {
    return this.#nextId++;
  }

  /** @throws not_found */
  get(key: string): SnapshotRecord {
    return mustFind(this.#committed, key);
  }

  /** This lists the ids of the snapshots of some kinds. */
  ids(kinds: readonly SnapshotKind[]): ReadonlySet<number> {
    const records = [...this.#database.records.values()];
    return new Set(records.flatMap(({ kind, id }) => (kinds.includes(kind) ? [id] : [])));
  }

  /** This lists all snapshots in the order of their keys. */
  list(): SnapshotRecord[] {
    return [...this.#database.records.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** This lists the ancestors of a snapshot, its parent first. */
  ancestors(record: SnapshotRecord): SnapshotRecord[] {
    const result: SnapshotRecord[] = [];
    for (let { parent } = record; parent !== "";) {
      const next = this.get(parent);
      result.push(next);
      ({ parent } = next);
    }
    return result;
  }

  /** This fails as {@link create} would, before anything is made on disk. */
  checkCreate(wanted: Pick<NewSnapshot, "key" | "parent" | "labels">): void {
    checkCreate(this.#committed, wanted);
  }

  /** @throws already_exists - the key is taken; not_found, invalid_argument - no such parent, or it is not committed */
  create(wanted: NewSnapshot): Promise<SnapshotRecord> {
    return this.#database.update((tx) => {
      const parent = checkCreate(tx, wanted);
      const now = Date.now();
      const { id, kind, key: name } = wanted;
      const labels = withoutEmpty(wanted.labels ?? noLabels);
      const times = { createdAt: now, updatedAt: now };
      const record = { id, kind, name, parent: wanted.parent, labels, ...times, children: 0, usage: noUsage };
      if (parent !== undefined) tx.put({ ...parent, children: parent.children + 1 });
      tx.put(record);
      return record;
    });
  }

  /** This fails as {@link commit} would, before the work of a commit is done, and returns the active snapshot. */
  checkCommit(wanted: Omit<SnapshotCommit, "usage">): SnapshotRecord {
    return checkCommit(this.#committed, wanted);
  }

  /**
   * This turns the active snapshot `key` into the committed `name`, with new labels and times and the same id.
   *
   * @throws already_exists - the name is taken; not_found; failed_precondition - not active
   * @throws invalid_argument - `parent` differs from the parent there is
   */
  commit(wanted: SnapshotCommit): Promise<SnapshotRecord> {
    return this.#database.update((tx) => {
      const active = checkCommit(tx, wanted);
      const now = Date.now();
      const labels = withoutEmpty(wanted.labels ?? noLabels);
      const times = { createdAt: now, updatedAt: now };
      const parent = rebase(tx, active, wanted.parent);
      const { name, usage } = wanted;
      const record: SnapshotRecord = { ...active, kind: "committed", name, parent, labels, ...times, usage };
      tx.remove(active.name);
      tx.put(record);
      return record;
    });
  }

  /** This forgets a snapshot and returns what it was. @throws not_found, failed_precondition - it has children */
  remove(key: string): Promise<SnapshotRecord> {
    return this.#database.update((tx) => {
      const record = mustFind(tx, key);
      if (record.children > 0) {
        throw failedPrecondition(`remove snapshot ${key}: it has ${record.children} children`);
      }
      tx.remove(key);
      const parent = record.parent === "" ? undefined : tx.find(record.parent);
      if (parent !== undefined) tx.put({ ...parent, children: parent.children - 1 });
      return record;
    });
  }

  /** This changes labels. @throws not_found, invalid_argument - see {@link updateLabels} */
  update(key: string, labels: Labels, fieldpaths?: readonly string[]): Promise<SnapshotRecord> {
    return this.#database.update((tx) => {
      const record = mustFind(tx, key);
      const changed = { ...record, labels: updateLabels(record.labels, labels, fieldpaths), updatedAt: Date.now() };
      tx.put(changed);
      return changed;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#database[Symbol.asyncDispose]();
  }
}

function mustFind(lookup: Lookup, key: string): SnapshotRecord {
  const record = lookup.find(key);
  if (record === undefined) throw notFound(`snapshot ${key}`);
  return record;
}

function findParent(lookup: Lookup, parent: string): SnapshotRecord | undefined {
  if (parent === "") return undefined;
  const record = lookup.find(parent);
  if (record === undefined) throw notFound(`parent snapshot ${parent}`);
  if (record.kind !== "committed") throw invalidArgument(`parent ${parent} is not a committed snapshot`);
  return record;
}

function checkCreate(
  lookup: Lookup,
  wanted: Pick<NewSnapshot, "key" | "parent" | "labels">,
): SnapshotRecord | undefined {
  snapshotKey(wanted.key); // refuses keys that cannot be stored
  validateLabels(wanted.labels ?? noLabels);
  const parent = findParent(lookup, wanted.parent);
  if (lookup.find(wanted.key) !== undefined) throw alreadyExists(`snapshot ${wanted.key}`);
  return parent;
}

function checkCommit(lookup: Lookup, wanted: Omit<SnapshotCommit, "usage">): SnapshotRecord {
  const { key, name, parent = "" } = wanted;
  snapshotKey(name);
  validateLabels(wanted.labels ?? noLabels);
  if (lookup.find(name) !== undefined) throw alreadyExists(`snapshot ${name}`);
  const active = mustFind(lookup, key);
  if (active.kind !== "active") throw failedPrecondition(`snapshot ${key} is not active`);
  if (parent !== "" && parent !== active.parent) {
    if (active.parent !== "") {
      throw invalidArgument(`commit snapshot ${key} on ${parent}: it was prepared on ${active.parent}`);
    }
    findParent(lookup, parent);
  }
  return active;
}

function rebase(tx: SnapshotTransaction, active: SnapshotRecord, parent = ""): string {
  if (parent === "" || parent === active.parent) return active.parent;
  const record = findParent(tx, parent);
  if (record !== undefined) tx.put({ ...record, children: record.children + 1 });
  return parent;
}
