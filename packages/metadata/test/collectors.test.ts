import { labels, PAST, putContainer, putImage } from "@berth/conformance/collector";
import type { CollectibleItem, CollectibleKind, ResourceCollection, ResourceCollector } from "@berth/core/collector";
import { describe, expect, it } from "vitest";

import type { Storage } from "./daemon-storage.ts";
import { openStorage, putText, testNamespace } from "./daemon-storage.ts";

type Item = Partial<Pick<CollectibleItem, "lease" | "active" | "labels">>;

/** Collects things that exist only in a map. */
class MapCollector implements ResourceCollector {
  readonly kind: CollectibleKind;
  readonly items = new Map<string, CollectibleItem>();
  readonly log: string[] = [];
  /** Runs when a collection has begun. */
  begun: () => Promise<void> = async () => {};

  constructor(kind: CollectibleKind, items: Readonly<Record<string, Item>>) {
    this.kind = kind;
    for (const [key, item] of Object.entries(items)) this.add(key, item);
  }

  add(key: string, item: Item): void {
    this.items.set(key, { namespace: testNamespace, key, active: false, labels: new Map(), ...item });
  }

  async begin(): Promise<ResourceCollection> {
    const items = [...this.items.values()];
    await this.begun();
    const removed: CollectibleItem[] = [];
    return {
      items,
      remove: (item) => void removed.push(item),
      finish: async () => {
        this.log.push("finish");
        for (const item of removed) if (this.items.get(item.key) === item) this.items.delete(item.key);
      },
      cancel: async () => void this.log.push("cancel"),
    };
  }

  left(): string[] {
    return [...this.items.keys()].toSorted();
  }
}

async function collectWith(storage: Storage, collector: ResourceCollector): Promise<ReadonlyMap<string, number>> {
  using _registered = storage.metadata.registerCollector(collector);
  return (await storage.metadata.collect()).removed;
}

describe("Metadata.registerCollector", () => {
  it("keeps what is active, leased, referred to, or named as living with something", async () => {
    await using storage = await openStorage();
    const { stores } = storage;
    await stores.leases.create({ id: "lease", labels: new Map() });
    await stores.leases.create({ id: "expired", labels: labels({ "containerd.io/gc.expire": PAST }) });
    await putContainer(stores, "", { "containerd.io/gc.ref.mount.x": "of the container" });
    const digest = await putText(stores.content, "target", { "containerd.io/gc.ref.mount": "of the blob" });
    await putImage(stores, digest, { "containerd.io/gc.ref.mount/y": "of the image" });
    const collector = new MapCollector("mount", {
      active: { active: true },
      leased: { lease: "lease" },
      "lease expired": { lease: "expired", active: true },
      "lease gone": { lease: "never", active: true },
      "of the container": {},
      "of the blob": {},
      "of the image": {},
      "with the container": { labels: labels({ "containerd.io/gc.bref.container": "container" }) },
      "with the blob": { labels: labels({ "containerd.io/gc.bref.content.z": digest }) },
      "with nobody": { labels: labels({ "containerd.io/gc.bref.container": "gone" }) },
      forgotten: {},
    });
    const removed = await collectWith(storage, collector);
    expect(Object.fromEntries(removed)).toEqual({ leases: 1, mounts: 4 });
    expect(collector.left()).toEqual([
      "active",
      "leased",
      "of the blob",
      "of the container",
      "of the image",
      "with the blob",
      "with the container",
    ]);
    expect(collector.log).toEqual(["finish"]);
  });

  it("knows its kinds apart, and refuses a second collector of one", async () => {
    await using storage = await openStorage();
    await putContainer(storage.stores, "", { "containerd.io/gc.ref.stream": "x" });
    const streams = new MapCollector("stream", { x: {} });
    const mounts = new MapCollector("mount", { x: {} });
    using _streams = storage.metadata.registerCollector(streams);
    expect(() => storage.metadata.registerCollector(streams)).toThrow(expect.objectContaining({ code: 6 }));
    await collectWith(storage, mounts);
    expect([streams.left(), mounts.left()]).toEqual([["x"], []]);
    // Gone from the register: nothing is asked of it any more.
    mounts.add("y", {});
    await storage.metadata.collect();
    expect(mounts.left()).toEqual(["y"]);
  });

  it("leaves a kind out that cannot begin, and collects the rest", async () => {
    await using storage = await openStorage();
    await putText(storage.stores.content, "garbage");
    const collector = new MapCollector("mount", { x: {} });
    collector.begun = () => Promise.reject(new Error("not now"));
    expect(Object.fromEntries(await collectWith(storage, collector))).toEqual({ content: 1 });
    expect(collector.left()).toEqual(["x"]);
  });

  it("keeps an item that comes to be named while marking goes on", async () => {
    await using storage = await openStorage();
    const collector = new MapCollector("mount", {
      referred: {},
      waiting: { labels: labels({ "containerd.io/gc.bref.container": "container" }) },
    });
    let written: Promise<void> | undefined;
    using _registered = storage.metadata.registerCollector(collector);
    collector.begun = async () => {
      written ??= putContainer(storage.stores, "", { "containerd.io/gc.ref.mount": "referred" });
    };
    await storage.metadata.collect();
    await written;
    expect(collector.left()).toEqual(["referred", "waiting"]);
  });
});
