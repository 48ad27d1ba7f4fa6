import type { CallOptions } from "@berth/core/any";
import type { ResourceCollector } from "@berth/core/collector";
import type { MetadataStore, NamespacedStores, NamespaceOptions } from "@berth/core/metadata";
import type { Namespace, NamespaceStore } from "@berth/core/namespaces";
import { invalidArgument } from "@berth/errors";

import type { MetadataDatabase } from "./database/metadata-database.ts";
import type { CollectorRegistry } from "./gc/collector-registry.ts";
import type { Collector, GcStats } from "./gc/collector.ts";
import type { BackendContent } from "./stores/backend-content.ts";
import type { BackendSnapshotter } from "./stores/backend-snapshotter.ts";
import { DatabaseContainerStore } from "./stores/container-store.ts";
import { DatabaseImageStore } from "./stores/image-store.ts";
import { DatabaseLeaseManager } from "./stores/lease-manager.ts";
import { DatabaseNamespaceStore } from "./stores/namespace-store.ts";
import { NamespacedContent } from "./stores/namespaced-content.ts";
import { NamespacedSnapshotter } from "./stores/namespaced-snapshotter.ts";
import { DatabaseSandboxStore } from "./stores/sandbox-store.ts";
import type { Scope } from "./stores/scope.ts";

/** What a {@link Metadata} is made of. */
export interface MetadataParts {
  readonly database: MetadataDatabase;
  readonly content: BackendContent;
  readonly snapshotters: ReadonlyMap<string, BackendSnapshotter>;
  readonly collector: Collector;
  readonly collectors: CollectorRegistry;
  /** Ends the watch over lost blobs. */
  readonly losses: Disposable;
}

/** Runs collections on request, in place of an immediate one. */
export type CollectionTrigger = (options: CallOptions) => Promise<void>;

/**
 * The metadata store over LMDB and the backends given to `openMetadata`. Disposing it waits for the collection and the
 * commits under way; it does not touch the backends.
 */
export class Metadata implements MetadataStore, AsyncDisposable {
  readonly namespaces: NamespaceStore;
  readonly #parts: MetadataParts;
  #trigger: CollectionTrigger | undefined;

  constructor(parts: MetadataParts) {
    this.#parts = parts;
    this.namespaces = new DatabaseNamespaceStore(parts.database);
  }

  namespace(name: Namespace, options: NamespaceOptions = {}): NamespacedStores {
    const { database, content, snapshotters } = this.#parts;
    const scope: Scope = {
      database,
      namespace: name,
      lease: options.lease,
      collect: (callOptions) => this.#collectNow(callOptions),
    };
    return {
      namespace: name,
      images: new DatabaseImageStore(scope),
      containers: new DatabaseContainerStore(scope),
      leases: new DatabaseLeaseManager(scope),
      sandboxes: new DatabaseSandboxStore(scope),
      content: new NamespacedContent(scope, content),
      snapshotter: (snapshotter) => new NamespacedSnapshotter(scope, requireSnapshotter(snapshotters, snapshotter)),
      snapshotters: [...snapshotters.keys()],
    };
  }

  registerCollector(collector: ResourceCollector): Disposable {
    return this.#parts.collectors.register(collector);
  }

  /** This collects garbage once, beginning after the call; calls that wait share one run. */
  collect(options: CallOptions = {}): Promise<GcStats> {
    return this.#parts.collector.collect(options);
  }

  /** This hands deletions with `sync` to a scheduler, until the result is disposed. */
  scheduleWith(trigger: CollectionTrigger): Disposable {
    this.#trigger = trigger;
    return { [Symbol.dispose]: () => void (this.#trigger = undefined) };
  }

  /** This calls `listener` after each commit, with whether it may have made garbage, until the result is disposed. */
  onCommit(listener: (dirty: boolean) => void): Disposable {
    return this.#parts.database.watch({ committed: (_, dirty) => listener(dirty) });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#parts.losses[Symbol.dispose]();
    await this.#parts.collector.idle();
    await this.#parts.database[Symbol.asyncDispose]();
  }

  async #collectNow(options: CallOptions): Promise<void> {
    if (this.#trigger === undefined) await this.collect(options);
    else await this.#trigger(options);
  }
}

function requireSnapshotter(snapshotters: ReadonlyMap<string, BackendSnapshotter>, name: string): BackendSnapshotter {
  if (name === "") throw invalidArgument("snapshotter name must not be empty");
  const snapshotter = snapshotters.get(name);
  if (snapshotter === undefined) throw invalidArgument(`snapshotter ${JSON.stringify(name)} is not loaded`);
  return snapshotter;
}
