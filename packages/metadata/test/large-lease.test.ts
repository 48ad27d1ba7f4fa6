import { formatDigest } from "@berth/oci";
import { temporaryDirectory } from "@berth/testing";
import { expect, it } from "vitest";

import { leaseResources, leases } from "../src/database/tables.ts";
import { resourceKey } from "../src/stores/lease-resource.ts";
import { openDatabase, openStorage, testNamespace } from "./daemon-storage.ts";

/** More than one update lets go of. */
const HELD = 2500;

/** A database with a lease that holds a lot. */
async function writeLease(path: string, id: string, labels: ReadonlyMap<string, string>): Promise<void> {
  await using database = await openDatabase(path);
  await database.update((tx) => {
    tx.put(leases, { namespace: testNamespace, group: "", key: id }, { id, labels, createdAt: 1 });
    for (let index = 0; index < HELD; index += 1) {
      const digest = formatDigest("sha256", index.toString(16).padStart(64, "0"));
      const resource = { type: "content", id: digest };
      tx.put(leaseResources, { namespace: testNamespace, group: id, key: resourceKey(resource) }, resource);
    }
  });
}

it("a lease that holds more than one update lets go of is deleted whole", async () => {
  await using directory = await temporaryDirectory("metadata");
  await writeLease(`${directory.path}/meta.mdb`, "large", new Map());
  await using storage = await openStorage({ root: directory.path });
  const manager = storage.metadata.namespace(testNamespace).leases;
  expect(await Array.fromAsync(manager.listResources("large"))).toHaveLength(HELD);
  await manager.delete("large");
  expect(await Array.fromAsync(manager.list())).toEqual([]);
  await manager.create({ id: "large", labels: new Map() });
  expect(await Array.fromAsync(manager.listResources("large"))).toEqual([]);
});

it("an expired lease that holds a lot is collected whole", async () => {
  await using directory = await temporaryDirectory("metadata");
  await writeLease(`${directory.path}/meta.mdb`, "old", new Map([["containerd.io/gc.expire", "2001-01-01T00:00:00Z"]]));
  await using storage = await openStorage({ root: directory.path });
  const manager = storage.metadata.namespace(testNamespace).leases;
  await storage.metadata.collect();
  expect(await Array.fromAsync(manager.list())).toEqual([]);
  await manager.create({ id: "old", labels: new Map() });
  expect(await Array.fromAsync(manager.listResources("old"))).toEqual([]);
});
