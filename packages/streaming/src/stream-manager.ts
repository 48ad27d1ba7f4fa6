import type { CollectibleItem, ResourceCollection, ResourceCollector } from "@berth/core/collector";
import { noLabels } from "@berth/core/labels";
import type { Namespace } from "@berth/core/namespaces";
import type { Stream, StreamManager, StreamRegistry } from "@berth/core/streaming";
import { alreadyExists, invalidArgument, notFound } from "@berth/errors";

/** A stream under its name. */
interface Registered {
  readonly stream: Stream;
  readonly lease: string | undefined;
}

/**
 * Keeps streams in memory, by namespace and id, and offers those with a lease to the garbage collector, which closes them when
 * the lease is gone and nothing refers to them.
 *
 * @see containerd plugins/streaming/manager.go
 */
export class LocalStreamManager implements StreamManager, StreamRegistry {
  readonly #streams = new Map<Namespace, Map<string, Registered>>();
  /** What the garbage collector sees of the streams. */
  readonly collector: ResourceCollector = { kind: "stream", begin: async () => this.#beginCollection() };

  get(namespace: Namespace, id: string): Stream {
    const found = this.#streams.get(namespace)?.get(id);
    if (found === undefined) throw notFound(`stream ${JSON.stringify(id)} not found`);
    return found.stream;
  }

  register(
    namespace: Namespace,
    id: string,
    stream: Stream,
    options: { readonly lease?: string | undefined } = {},
  ): void {
    if (id === "") throw invalidArgument("stream id must not be empty");
    const streams = this.#streams.get(namespace) ?? new Map<string, Registered>();
    if (streams.has(id)) throw alreadyExists(`stream ${JSON.stringify(id)}`);
    this.#streams.set(namespace, streams.set(id, { stream, lease: options.lease }));
  }

  unregister(namespace: Namespace, id: string, stream: Stream): void {
    const streams = this.#streams.get(namespace);
    if (streams?.get(id)?.stream !== stream) return;
    streams.delete(id);
    if (streams.size === 0) this.#streams.delete(namespace);
  }

  #beginCollection(): ResourceCollection {
    const offered = new Map<CollectibleItem, Registered>();
    for (const [namespace, streams] of this.#streams) {
      for (const [key, registered] of streams) {
        // A stream is in use from its first moment on; where it has a lease that decides.
        offered.set({ namespace, key, lease: registered.lease, active: true, labels: noLabels }, registered);
      }
    }
    const noted = new Set<CollectibleItem>();
    return {
      items: offered.keys(),
      remove: (item) => void noted.add(item),
      finish: async () => {
        for (const item of noted) this.#collect(item, offered.get(item));
      },
      cancel: async () => {},
    };
  }

  #collect({ namespace, key }: CollectibleItem, registered: Registered | undefined): void {
    if (registered === undefined) return;
    registered.stream.close();
    this.unregister(namespace, key, registered.stream);
  }
}
