import { describe, expect, it } from "vitest";

import { openStorage, testNamespace } from "./daemon-storage.ts";

describe("deletion of a namespace", () => {
  it("takes its sandboxes along, which do not keep it", async () => {
    await using storage = await openStorage();
    const sandbox = { id: "s", labels: new Map(), runtime: { name: "r" }, sandboxer: "", extensions: new Map() };
    await storage.stores.sandboxes.create(sandbox);
    await storage.metadata.namespaces.delete(testNamespace);
    expect(await Array.fromAsync(storage.stores.sandboxes.list())).toEqual([]);
    // Nothing of it is in the way of a new one.
    await storage.stores.sandboxes.create(sandbox);
  });
});

it("setLabels is told once, however many labels there are", async () => {
  await using storage = await openStorage();
  const labels = new Map([
    ["a", "1"],
    ["b", "2"],
  ]);
  await storage.metadata.namespaces.setLabels(testNamespace, labels);
  expect(storage.events).toEqual([{ namespace: testNamespace, topic: "/namespaces/update" }]);
});
