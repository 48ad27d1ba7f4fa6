import type { CallOptions } from "./any.ts";
import type { Labels } from "./labels.ts";
import type { Namespace } from "./namespaces.ts";

/**
 * Kinds of things that live outside of the metadata database but are collected with what is in it, with containerd's numbers
 * for them. The name is also what follows `containerd.io/gc.ref.` in the labels that refer to one.
 */
export const CollectibleKind = { stream: 9, mount: 10 } as const;

/** Name of a kind of collectible things. */
export type CollectibleKind = keyof typeof CollectibleKind;

/** One thing that may be collected. */
export interface CollectibleItem {
  readonly namespace: Namespace;
  /** Names it within its kind and namespace. */
  readonly key: string;
  /** Lease that holds it; then only that lease, references and back references keep it. */
  readonly lease?: string | undefined;
  /** In use, and a root of its own; of no weight where a lease holds the item. */
  readonly active: boolean;
  /** Read for back references (`containerd.io/gc.bref.…`): the item lives as long as what they name. */
  readonly labels: Labels;
}

/**
 * One kind's part of one collection. It ends with {@link ResourceCollection.finish} or {@link ResourceCollection.cancel},
 * exactly one of them, called once.
 *
 * @see containerd core/metadata/gc.go, CollectionContext
 */
export interface ResourceCollection {
  /** All items as they were when the collection began; read once, a bit at a time, while others work on. */
  readonly items: Iterable<CollectibleItem>;
  /**
   * This notes an item for removal. Called inside of a database transaction: it returns at once and must not throw.
   *
   * `item` is one of {@link ResourceCollection.items}: one that has come since under the same key is another one and
   * stays, and so does one that somebody has begun to use.
   */
  remove(item: CollectibleItem): void;
  /**
   * This removes what was noted, as long as that takes. Called after the records that were garbage are gone. What fails
   * is tried again by the next collection, when it lists the item again.
   */
  finish(): Promise<void>;
  /** This ends a collection that failed: nothing is removed. */
  cancel(): Promise<void>;
}

/**
 * Offers the things of one kind to the garbage collector of the metadata store, see `MetadataStore.registerCollector`.
 *
 * Collections never overlap. One that cannot begin is logged, and its kind left out of that run.
 *
 * @see containerd core/metadata/gc.go, Collector
 */
export interface ResourceCollector {
  readonly kind: CollectibleKind;
  /** Marking goes on for a while after this and holds nobody up: no lock may be kept until the end of the collection. */
  begin(options?: CallOptions): Promise<ResourceCollection>;
}
