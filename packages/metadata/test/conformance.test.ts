import { runConformance } from "@berth/conformance";
import { collectorBackReferenceCases, collectorCases, collectorConditionCases } from "@berth/conformance/collector";
import { containerCases } from "@berth/conformance/containers";
import { contentCases, contentLabelCases } from "@berth/conformance/content";
import { imageCases } from "@berth/conformance/images";
import { leaseCases } from "@berth/conformance/leases";
import { namespaceCases } from "@berth/conformance/namespaces";
import { sandboxCases } from "@berth/conformance/sandboxes";
import { snapshotCases } from "@berth/conformance/snapshots";
import type { Mount } from "@berth/core/mount";
import { mountAll, unmountAll } from "@berth/linux/mount";
import { openOverlaySnapshotter } from "@berth/snapshotters/overlayfs";
import { memoryDirectory } from "@berth/testing";
import * as vitest from "vitest";

import { openStorage, testNamespace } from "./daemon-storage.ts";

async function openStores() {
  const storage = await openStorage();
  return { ...storage.stores, [Symbol.asyncDispose]: () => storage[Symbol.asyncDispose]() };
}

async function openContent(sharingPolicy: "shared" | "isolated", lease?: string) {
  const storage = await openStorage({ sharingPolicy });
  if (lease !== undefined) await storage.stores.leases.create({ id: lease, labels: new Map() });
  const store = storage.metadata.namespace(testNamespace, { lease }).content;
  return { store, [Symbol.asyncDispose]: () => storage[Symbol.asyncDispose]() };
}

async function mount(mounts: readonly Mount[], target: string): Promise<AsyncDisposable> {
  await mountAll(mounts, target);
  return { [Symbol.asyncDispose]: () => unmountAll(target) };
}

async function openOverlay() {
  await using made = new AsyncDisposableStack();
  const { path } = made.use(await memoryDirectory("metadata"));
  const { snapshotter } = await openOverlaySnapshotter({ root: path });
  made.use(snapshotter);
  const storage = made.use(await openStorage({ snapshotters: new Map([["overlayfs", snapshotter]]) }));
  const owned = made.move();
  return {
    snapshotter: storage.stores.snapshotter("overlayfs"),
    rebases: true,
    mount,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function openNative() {
  const storage = await openStorage();
  const snapshotter = storage.stores.snapshotter("native");
  return { snapshotter, rebases: false, mount, [Symbol.asyncDispose]: () => storage[Symbol.asyncDispose]() };
}

async function openNamespaces() {
  const { metadata, ...storage } = await openStorage();
  return {
    namespaces: metadata.namespaces,
    stores: metadata.namespace.bind(metadata),
    [Symbol.asyncDispose]: () => storage[Symbol.asyncDispose](),
  };
}

/** After a collection the backends hold exactly what the records name. */
async function openCollected() {
  const storage = await openStorage();
  const { metadata, stores, leased, content, native } = storage;
  const count = async (list: AsyncIterable<unknown>) => (await Array.fromAsync(list)).length;
  const collect = async () => {
    await metadata.collect();
    vitest.expect(await count(content.list())).toBe(await count(stores.content.list()));
    vitest.expect(await count(native.list())).toBe(await count(stores.snapshotter("native").list()));
    vitest.expect(await count(content.listStatuses())).toBe(await count(stores.content.listStatuses()));
  };
  return { stores, leased, collect, [Symbol.asyncDispose]: () => storage[Symbol.asyncDispose]() };
}

const allCollectorCases = [...collectorCases, ...collectorBackReferenceCases, ...collectorConditionCases];
runConformance(vitest, "collector", allCollectorCases, openCollected);
runConformance(vitest, "images of a namespace", imageCases, openStores);
runConformance(vitest, "containers of a namespace", containerCases, openStores);
runConformance(vitest, "leases of a namespace", leaseCases, openStores);
runConformance(vitest, "sandboxes of a namespace", sandboxCases, openStores);
runConformance(vitest, "namespaces", namespaceCases, openNamespaces);
const allContentCases = [...contentCases, ...contentLabelCases];
runConformance(vitest, "content of a namespace, shared", allContentCases, () => openContent("shared"));
runConformance(vitest, "content of a namespace, isolated", allContentCases, () => openContent("isolated"));
runConformance(vitest, "content of a namespace, leased", allContentCases, () => openContent("shared", "l"));
runConformance(vitest, "snapshots of a namespace over overlayfs", snapshotCases, openOverlay);
runConformance(vitest, "snapshots of a namespace over native", snapshotCases, openNative);
