import type { CollectibleItem, ResourceCollection, ResourceCollector } from "@berth/core/collector";
import type { Logger } from "@berth/core/log";

import type { Bucket } from "../database/record-index.ts";
import { RecordIndex } from "../database/record-index.ts";
import type { Table } from "../database/table.ts";
import { collectibleTables } from "./collectible-table.ts";
import { inSlices } from "./slices.ts";

interface Begun {
  readonly table: Table<CollectibleItem>;
  readonly collection: ResourceCollection;
}

/** An item by its place. */
export interface CollectibleKey {
  readonly table: Table<CollectibleItem>;
  readonly key: string;
}

/**
 * The things outside of the database during one collection. End it with {@link Collectibles.finish} or
 * {@link Collectibles.cancel}.
 */
export class Collectibles {
  readonly #begun: readonly Begun[];
  readonly #log: Logger;
  readonly #items = new RecordIndex();
  /** Namespace → lease → what it holds. */
  readonly #leased = new Map<string, Map<string, CollectibleKey[]>>();

  /** This begins a collection at each of `collectors`; one that fails is left out. */
  static async begin(collectors: readonly ResourceCollector[], log: Logger): Promise<Collectibles> {
    const begun: Begun[] = [];
    for (const collector of collectors) {
      try {
        begun.push({ table: collectibleTables[collector.kind], collection: await collector.begin() });
      } catch (error) {
        log.error("failed to begin collection", { kind: collector.kind, error });
      }
    }
    const collectibles = new Collectibles(begun, log);
    try {
      for (const { table, collection } of begun) await collectibles.#load(table, collection);
    } catch (error) {
      await collectibles.cancel();
      throw error;
    }
    return collectibles;
  }

  private constructor(begun: readonly Begun[], log: Logger) {
    this.#begun = begun;
    this.#log = log;
  }

  findBucket(table: Table<unknown>, namespace: string, group: string): Bucket<unknown> | undefined {
    return this.#items.findBucket(table, namespace, group);
  }

  buckets(): Bucket<CollectibleItem>[] {
    return this.#begun.flatMap(({ table }) => this.#items.buckets(table));
  }

  leased(namespace: string, lease: string): readonly CollectibleKey[] {
    return this.#leased.get(namespace)?.get(lease) ?? [];
  }

  /** This notes the removal of an item; `false` if there is none. */
  remove({ table }: Bucket<unknown>, item: CollectibleItem): void {
    this.#begun.find((each) => each.table === table)?.collection.remove(item);
  }

  async finish(): Promise<void> {
    await this.#end((collection) => collection.finish());
  }

  async cancel(): Promise<void> {
    await this.#end((collection) => collection.cancel());
  }

  async #end(call: (collection: ResourceCollection) => Promise<void>): Promise<void> {
    const ends = this.#begun.map(async ({ table, collection }) => {
      try {
        await call(collection);
      } catch (error) {
        this.#log.error("failed to end collection", { kind: table.name, error });
      }
    });
    await Promise.all(ends);
  }

  async #load(table: Table<CollectibleItem>, { items }: ResourceCollection): Promise<void> {
    const iterator = items[Symbol.iterator]();
    await inSlices(() => {
      const { done, value } = iterator.next();
      if (done === true) return false;
      this.#items.bucket(table, value.namespace).set(value.key, value);
      if (value.lease !== undefined) this.#addLeased(value.lease, value.namespace, { table, key: value.key });
      return true;
    });
  }

  #addLeased(lease: string, namespace: string, key: CollectibleKey): void {
    const leases = this.#leased.get(namespace) ?? new Map<string, CollectibleKey[]>();
    this.#leased.set(namespace, leases);
    const held = leases.get(lease);
    if (held === undefined) leases.set(lease, [key]);
    else held.push(key);
  }
}
