import type { ResourceCollector } from "./collector.ts";
import type { ContainerStore } from "./containers.ts";
import type { ContentStore } from "./content.ts";
import type { ImageStore } from "./images.ts";
import type { LeaseManager } from "./leases.ts";
import type { Namespace, NamespaceStore } from "./namespaces.ts";
import type { SandboxStore } from "./sandboxes.ts";
import type { Snapshotter } from "./snapshots.ts";

/** How objects written through a view are tied together. */
export interface NamespaceOptions {
  /** Id of a lease: what is made through the view is added to it. */
  readonly lease?: string | undefined;
}

/** Everything that lives in one namespace. Cheap to make; holds nothing that needs disposal. */
export interface NamespacedStores {
  readonly namespace: Namespace;
  readonly images: ImageStore;
  readonly containers: ContainerStore;
  readonly leases: LeaseManager;
  readonly sandboxes: SandboxStore;
  readonly content: ContentStore;
  /** @throws invalid_argument - no snapshotter of that name is loaded, or the name is empty */
  snapshotter(name: string): Snapshotter;
  /** Names of the snapshotters loaded. */
  readonly snapshotters: readonly string[];
}

/** The metadata database: gives views of namespaces, over backends that know none. */
export interface MetadataStore {
  readonly namespaces: NamespaceStore;
  namespace(name: Namespace, options?: NamespaceOptions): NamespacedStores;
  /**
   * This includes the things that `collector` offers in every collection that begins from now on, until the result is disposed.
   *
   * @throws already_exists - there is a collector of the same kind
   */
  registerCollector(collector: ResourceCollector): Disposable;
}
