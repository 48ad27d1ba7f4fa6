import type { MetadataStore, NamespacedStores } from "@berth/core/metadata";
import type { Snapshotter } from "@berth/core/snapshots";
import { notFound } from "@berth/errors";
import { MediaType } from "@berth/oci";
import type { DifferProvider } from "@berth/plugin-core/types";
import { MemoryContentStore } from "@berth/testing";

import { LocalTransfer } from "../src/index.ts";
import type { LocalTransferOptions } from "../src/transfer-options.ts";

/** Transfers in memory, and what came of them. */
export interface MemoryTransfer {
  readonly content: MemoryContentStore;
  /** Names, as often as they were stored. */
  readonly images: readonly string[];
  /** Names of snapshots. */
  readonly committed: ReadonlySet<string>;
  /** Keys of snapshots to unpack into, as often as they were asked for. */
  readonly prepared: readonly string[];
  transfers(more?: Partial<LocalTransferOptions>): LocalTransfer;
}

/** This unpacks layers that are no archives: each is its own diff id, and so the lowest of an image the name of its snapshot. */
export function createMemoryTransfer(more: Partial<Snapshotter> = {}): MemoryTransfer {
  const content = new MemoryContentStore();
  const images: string[] = [];
  const committed = new Set<string>();
  const prepared: string[] = [];
  const snapshotter: Partial<Snapshotter> = {
    async stat(name) {
      if (!committed.has(name)) throw notFound(name);
      return { name, kind: "committed", parent: "", labels: new Map(), createdAt: 0, updatedAt: 0 };
    },
    prepare: async (key) => {
      prepared.push(key);
      return [];
    },
    commit: async (name) => void committed.add(name),
    remove: async () => {},
    ...more,
  };
  // Nothing else is asked for.
  const stores = {
    namespace: "default",
    content,
    snapshotters: ["overlayfs"],
    snapshotter: () => snapshotter,
    images: {
      update: ({ name }: { readonly name: string }) => Promise.reject(notFound(name)),
      create: async ({ name }: { readonly name: string }) => void images.push(name),
    },
    leases: { create: async () => {}, delete: async () => {} },
  } as unknown as NamespacedStores;
  const walking: DifferProvider = () => ({
    apply: async ({ digest, size }) => ({ mediaType: MediaType.ociLayer, digest, size }),
  });
  const metadata = { namespace: () => stores } as unknown as MetadataStore;
  const transfers = (options: Partial<LocalTransferOptions> = {}): LocalTransfer =>
    new LocalTransfer({ metadata, differs: new Map([["walking", walking]]), ...options });
  return { content, images, committed, prepared, transfers };
}
