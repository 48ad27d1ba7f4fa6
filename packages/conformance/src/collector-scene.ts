import { createHash } from "node:crypto";

import type { ContentStore } from "@berth/core/content";
import { writeBlob } from "@berth/core/content";
import type { Labels } from "@berth/core/labels";
import type { NamespacedStores } from "@berth/core/metadata";
import type { Digest } from "@berth/oci";
import { formatDigest, parseDigest } from "@berth/oci";
import { expect } from "vitest";

import type { ConformanceCase } from "./run-conformance.ts";

/** The part of a namespace that scenes are made of. */
export type CollectedStores = Pick<
  NamespacedStores,
  "images" | "containers" | "leases" | "sandboxes" | "content" | "snapshotter"
>;

/** The collector of an empty namespace, with a snapshotter `native`. */
export interface CollectorSubject extends AsyncDisposable {
  /** What is made through these is there at least until {@link CollectorSubject.collect}. */
  readonly stores: CollectedStores;
  /** The same stores with a lease that takes what is made. */
  leased(lease: string): CollectedStores;
  /** This resolves when a collection that began after the call has ended. */
  collect(): Promise<void>;
}

/** A scene, and what of it is left after a collection: texts of blobs, names of everything else but containers and sandboxes. */
export interface CollectorScene {
  readonly name: string;
  readonly build: (
    subject: CollectorSubject,
    put: (text: string, labels?: Readonly<Record<string, string>>) => Promise<Digest>,
  ) => Promise<void>;
  readonly left: readonly string[];
}

/** A time that has gone by. */
export const PAST = "2001-01-01T00:00:00Z";
/** A time that has not come yet. */
export const FUTURE = "2999-01-01T00:00:00+01:00";

/** This makes labels. */
export function labels(entries: Readonly<Record<string, string>>): Labels {
  return new Map(Object.entries(entries));
}

/** This makes a case of a scene. */
export function collectorCase({ name, build, left }: CollectorScene): ConformanceCase<CollectorSubject> {
  return {
    name,
    async run(subject) {
      const texts = new Map<string, string>();
      await build(subject, async (text, extra = {}) => {
        const digest = await putText(subject.stores.content, text, extra);
        texts.set(digest, text);
        return digest;
      });
      for await (const { digest } of subject.stores.content.list()) {
        await using reader = await subject.stores.content.reader(digest);
        texts.set(digest, new TextDecoder().decode(await reader.readAt(0, reader.size)));
      }
      await subject.collect();
      expect(await survivors(subject.stores, texts)).toEqual(left);
    },
  };
}

async function survivors(stores: CollectedStores, texts: ReadonlyMap<string, string>): Promise<string[]> {
  const found: string[] = [];
  for await (const { digest } of stores.content.list()) found.push(texts.get(digest) ?? digest);
  for await (const { name } of stores.snapshotter("native").list()) found.push(name);
  for await (const { name } of stores.images.list()) found.push(name);
  for await (const { id } of stores.leases.list()) found.push(id);
  for await (const { ref } of stores.content.listStatuses()) found.push(ref);
  return found.toSorted();
}

/** This stores a text as a blob, with labels, and returns its digest. */
export async function putText(
  store: ContentStore,
  text: string,
  extra: Readonly<Record<string, string>> = {},
): Promise<Digest> {
  const bytes = new TextEncoder().encode(text);
  const digest = formatDigest("sha256", createHash("sha256").update(bytes).digest("hex"));
  await writeBlob(store, `put-${digest}`, [bytes], { digest, size: bytes.length });
  await store.update({ digest, labels: labels(extra) });
  return digest;
}

/** This makes an image of a blob. */
export async function putImage(
  stores: Pick<CollectedStores, "images">,
  digest: string,
  extra: Readonly<Record<string, string>> = {},
  name = "image",
): Promise<void> {
  const target = { mediaType: "m", digest: parseDigest(digest), size: 1 };
  await stores.images.create({ name, labels: labels(extra), target });
}

/** This makes a committed snapshot. */
export async function commitSnapshot(
  stores: Pick<CollectedStores, "snapshotter">,
  name: string,
  parent = "",
  extra: Readonly<Record<string, string>> = {},
): Promise<void> {
  const snapshotter = stores.snapshotter("native");
  await snapshotter.prepare(`prepare-${name}`, parent);
  await snapshotter.commit(name, `prepare-${name}`, { labels: labels(extra) });
}

/** This makes the container `container` on a snapshot, or on none. */
export async function putContainer(
  stores: Pick<CollectedStores, "containers">,
  snapshotKey: string,
  extra: Readonly<Record<string, string>> = {},
): Promise<void> {
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
