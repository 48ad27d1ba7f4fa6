import { createLocalContentStore } from "@berth/content";
import type { ContentStore } from "@berth/core/content";
import { silentLogger } from "@berth/core/log";
import type { NamespacedStores } from "@berth/core/metadata";
import { parseNamespace } from "@berth/core/namespaces";
import type { Snapshotter } from "@berth/core/snapshots";
import { openNativeSnapshotter } from "@berth/snapshotters/native";
import { memoryDirectory } from "@berth/testing";

import { MetadataDatabase } from "../src/database/metadata-database.ts";
import type { Metadata, MetadataOptions } from "../src/index.ts";
import { openMetadata } from "../src/index.ts";

export { putText } from "@berth/conformance/collector";

/** A metadata store over real backends below one directory. */
export interface Storage extends AsyncDisposable {
  readonly metadata: Metadata;
  readonly content: ContentStore;
  readonly native: Snapshotter;
  readonly events: { readonly namespace: string; readonly topic: string }[];
  /** Stores of the namespace `test`. */
  readonly stores: NamespacedStores;
  leased(lease: string): NamespacedStores;
}

export const testNamespace = parseNamespace("test");

/** This opens storage in a directory of its own, in memory, or in `root`, which then stays. */
export async function openStorage(
  options: Partial<MetadataOptions> & { readonly root?: string } = {},
): Promise<Storage> {
  await using made = new AsyncDisposableStack();
  const root = options.root ?? made.use(await memoryDirectory("metadata")).path;
  const content = await createLocalContentStore({ root: `${root}/content` });
  const native = made.use(await openNativeSnapshotter({ root: `${root}/native` }));
  const events: { namespace: string; topic: string }[] = [];
  const metadata = made.use(
    await openMetadata({
      path: `${root}/meta.mdb`,
      content,
      snapshotters: new Map([["native", native]]),
      events: { publish: async (namespace, topic) => void events.push({ namespace, topic }) },
      fatal: (error) => {
        throw error;
      },
      ...options,
    }),
  );
  const owned = made.move();
  return {
    metadata,
    content,
    native,
    events,
    stores: metadata.namespace(testNamespace),
    leased: (lease) => metadata.namespace(testNamespace, { lease }),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** This opens a database alone, past the stores and their rules. */
export function openDatabase(path: string): Promise<MetadataDatabase> {
  const events = { publish: async () => {} };
  return MetadataDatabase.open({ path, events, log: silentLogger, noSync: true, fatal: () => {} });
}
