import type { CollectibleKind, ResourceCollector } from "@berth/core/collector";
import { alreadyExists } from "@berth/errors";

/** The collectors of things outside of the database, one for each kind. */
export class CollectorRegistry {
  readonly #collectors = new Map<CollectibleKind, ResourceCollector>();

  /** This adds a collector until the result is disposed. @throws already_exists - its kind has one */
  register(collector: ResourceCollector): Disposable {
    const { kind } = collector;
    if (this.#collectors.has(kind)) throw alreadyExists(`collector of kind ${kind}`);
    this.#collectors.set(kind, collector);
    return {
      [Symbol.dispose]: () => {
        if (this.#collectors.get(kind) === collector) this.#collectors.delete(kind);
      },
    };
  }

  list(): readonly ResourceCollector[] {
    return [...this.#collectors.values()];
  }
}
