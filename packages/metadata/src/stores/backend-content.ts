import type { ContentStore } from "@berth/core/content";
import { RefLocks } from "@berth/core/ref-locks";
import type { Digest } from "@berth/oci";

/** Whether the bytes of a blob have to be shown again before another namespace may have it. */
export type SharingPolicy = "shared" | "isolated";

/**
 * The content store without namespaces, and what is under way in it: what no record names yet, but nobody may collect.
 */
export class BackendContent {
  readonly store: ContentStore;
  readonly sharingPolicy: SharingPolicy;
  /** Backend refs of ingests between their beginning and their record. */
  readonly ingestsInFlight = new Set<string>();
  /** Blobs that lost a record in this process, never got theirs, or were passed over: the collector may take them if nobody names them. */
  readonly forsaken = new Set<Digest>();
  /** Whether the collector has removed what earlier processes left; from then on {@link forsaken} has all garbage that there is. */
  isLookedThrough = false;
  readonly #pins = new Map<Digest, number>();
  readonly #removals = new Map<Digest, Promise<void>>();
  readonly #refs = new RefLocks();

  constructor(store: ContentStore, sharingPolicy: SharingPolicy) {
    this.store = store;
    this.sharingPolicy = sharingPolicy;
  }

  /** This keeps the collector from removing a blob, until the result is disposed; it waits for a removal under way. */
  async pin(digest: Digest): Promise<Disposable> {
    this.#pins.set(digest, (this.#pins.get(digest) ?? 0) + 1);
    await this.#removals.get(digest);
    return {
      [Symbol.dispose]: () => {
        const count = this.#pins.get(digest) ?? 0;
        if (count > 1) this.#pins.set(digest, count - 1);
        else this.#pins.delete(digest);
      },
    };
  }

  isPinned(digest: Digest): boolean {
    return this.#pins.has(digest);
  }

  /** This removes a blob that is not pinned; who pins it meanwhile waits. */
  async remove(digest: Digest): Promise<void> {
    const removal = Promise.withResolvers<void>();
    this.#removals.set(digest, removal.promise);
    try {
      await this.store.delete(digest);
    } finally {
      this.#removals.delete(digest);
      removal.resolve();
    }
  }

  /** This makes the caller the only writer of a ref of a namespace. @throws unavailable - somebody else is */
  lockRef(namespace: string, ref: string): Disposable {
    return this.#refs.acquire(refKey(namespace, ref), ref);
  }

  isRefLocked(namespace: string, ref: string): boolean {
    return this.#refs.isHeld(refKey(namespace, ref));
  }
}

function refKey(namespace: string, ref: string): string {
  // A namespace holds no slash.
  return `${namespace}/${ref}`;
}
