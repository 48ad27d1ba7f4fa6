import type { NamespacedStores } from "@berth/core/metadata";
import { parseDigest } from "@berth/oci";

import type { Storage } from "./daemon-storage.ts";
import { putText } from "./daemon-storage.ts";

export const PAST = "2001-01-01T00:00:00Z";
export const FUTURE = "2999-01-01T00:00:00+01:00";

export const labels = (entries: Record<string, string>) => new Map(Object.entries(entries));
export const target = (digest: string) => ({ mediaType: "m", digest: parseDigest(digest), size: 1 });

export async function putImage(
  stores: NamespacedStores,
  digest: string,
  extra: Record<string, string> = {},
  name = "image",
) {
  await stores.images.create({ name, labels: labels(extra), target: target(digest) });
}

export async function commitSnapshot(
  stores: NamespacedStores,
  name: string,
  parent = "",
  extra: Record<string, string> = {},
) {
  const snapshotter = stores.snapshotter("native");
  await snapshotter.prepare(`prepare-${name}`, parent);
  await snapshotter.commit(name, `prepare-${name}`, { labels: labels(extra) });
}

export async function putContainer(stores: NamespacedStores, snapshotKey: string, extra: Record<string, string> = {}) {
  await stores.containers.create({
    id: "container",
    labels: labels(extra),
    image: "",
    runtime: { name: "r" },
    spec: { typeUrl: "t", value: new Uint8Array(0) },
    snapshotter: snapshotKey === "" ? "" : "native",
    snapshotKey,
    extensions: new Map(),
    sandboxId: "",
  });
}

/** What is there: blobs by their text, snapshots, images, leases and ingests by their names. */
export async function survivors(storage: Storage, texts: ReadonlyMap<string, string>): Promise<string[]> {
  const { stores } = storage;
  const found: string[] = [];
  for await (const { digest } of stores.content.list()) found.push(texts.get(digest) ?? digest);
  for await (const { name } of stores.snapshotter("native").list()) found.push(name);
  for await (const { name } of stores.images.list()) found.push(name);
  for await (const { id } of stores.leases.list()) found.push(id);
  for await (const { ref } of stores.content.listStatuses()) found.push(ref);
  return found.toSorted();
}

/** A scene, and what of it is left after a collection. */
export interface Case {
  readonly name: string;
  /** Builds a scene; `put` stores a text as a blob and returns its digest. */
  readonly build: (
    storage: Storage,
    put: (text: string, labels?: Record<string, string>) => Promise<string>,
  ) => Promise<void>;
  readonly left: readonly string[];
}

/** This builds the scene of a case, collects, and returns what is left. The caller disposes the storage. */
export async function playCase(storage: Storage, { build }: Case): Promise<string[]> {
  const texts = new Map<string, string>();
  await build(storage, async (text, extra = {}) => {
    const digest = await putText(storage.stores.content, text, extra);
    texts.set(digest, text);
    return digest;
  });
  for await (const { digest } of storage.stores.content.list()) {
    await using reader = await storage.stores.content.reader(digest);
    texts.set(digest, new TextDecoder().decode(await reader.readAt(0, reader.size)));
  }
  await storage.metadata.collect();
  return survivors(storage, texts);
}
