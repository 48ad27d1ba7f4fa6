import { KeyOrder } from "./key-order.ts";
import type { RecordPath } from "./record-key.ts";
import type { Table } from "./table.ts";

/** The records of one group, as of the last commit. Iterating while it changes is safe. */
export class Bucket<R> {
  readonly namespace: string;
  readonly group: string;
  readonly table: Table<R>;
  readonly #records = new Map<string, R>();
  readonly #order = new KeyOrder();

  constructor(table: Table<R>, namespace: string, group: string) {
    this.table = table;
    this.namespace = namespace;
    this.group = group;
  }

  get size(): number {
    return this.#records.size;
  }

  get(key: string): R | undefined {
    return this.#records.get(key);
  }

  has(key: string): boolean {
    return this.#records.has(key);
  }

  /** This yields keys and records in no particular order; what is added meanwhile may be seen. */
  entries(): MapIterator<[string, R]> {
    return this.#records.entries();
  }

  /** This returns the records in byte order of their keys, as they are now. */
  sorted(): R[] {
    // Every sorted key is in the map: both change together.
    return this.#order.keys().map((key) => this.#records.get(key) as R);
  }

  set(key: string, record: R): void {
    if (!this.#records.has(key)) this.#order.add(key);
    this.#records.set(key, record);
  }

  delete(key: string): void {
    if (this.#records.delete(key)) this.#order.delete(key);
  }
}

/** All records in memory, as of the last commit: what lists, filters and the collector read. */
export class RecordIndex {
  // Table → namespace → group. A bucket's R is its table's: see bucket().
  readonly #tables = new Map<number, Map<string, Map<string, Bucket<unknown>>>>();

  /** This returns the bucket of a group, an empty one for a group without records; the same object each time. */
  bucket<R>(table: Table<R>, namespace: string, group = ""): Bucket<R> {
    const namespaces = getOrMake(this.#tables, table.prefix, () => new Map<string, Map<string, Bucket<unknown>>>());
    const groups = getOrMake(namespaces, namespace, () => new Map<string, Bucket<unknown>>());
    const found = groups.get(group);
    // Buckets are only made below, with the table whose prefix leads to them.
    if (found !== undefined) return found as Bucket<R>;
    const made = new Bucket(table, namespace, group);
    groups.set(group, made as Bucket<unknown>);
    return made;
  }

  /** This returns the bucket of a group that ever had a record. */
  findBucket<R>(table: Table<R>, namespace: string, group: string): Bucket<R> | undefined {
    // As in bucket().
    return this.#tables.get(table.prefix)?.get(namespace)?.get(group) as Bucket<R> | undefined;
  }

  find<R>(table: Table<R>, path: RecordPath): R | undefined {
    return this.findBucket(table, path.namespace, path.group)?.get(path.key);
  }

  /** This returns the buckets of a table, of all namespaces or of one. */
  buckets<R>(table: Table<R>, namespace?: string): Bucket<R>[] {
    const result: Bucket<unknown>[] = [];
    for (const [name, groups] of this.#tables.get(table.prefix) ?? []) {
      if (namespace === undefined || name === namespace) result.push(...groups.values());
    }
    // As in bucket().
    return result as Bucket<R>[];
  }
}

function getOrMake<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const found = map.get(key);
  if (found !== undefined) return found;
  const made = make();
  map.set(key, made);
  return made;
}
