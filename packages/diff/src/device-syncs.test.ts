import { tmpdir } from "node:os";

import { describe, expect, it } from "vitest";

import { DeviceSyncs } from "./device-syncs.ts";

/** Syncs that the test ends one by one, and the descriptors that they are on. */
function manual() {
  const begun: PromiseWithResolvers<void>[] = [];
  const descriptors: number[] = [];
  const syncs = new DeviceSyncs((descriptor) => {
    const sync = Promise.withResolvers<void>();
    begun.push(sync);
    descriptors.push(descriptor);
    return sync.promise;
  });
  return { syncs, begun, descriptors };
}

const settled = async (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 20));

describe("DeviceSyncs", () => {
  it("shares a sync, and one descriptor, among all who came before it began", async () => {
    const { syncs, begun, descriptors } = manual();
    await using one = await syncs.watch(tmpdir());
    await using other = await syncs.watch(tmpdir());
    const done: string[] = [];
    const first = one.sync().then(() => done.push("first"));
    await settled();
    const others = [one.sync(), other.sync()].map((sync) => sync.then(() => done.push("other")));
    await settled();
    expect(begun.length).toBe(1);
    begun[0]?.resolve();
    await first;
    await settled();
    expect([begun.length, done]).toEqual([2, ["first"]]);
    begun[1]?.resolve();
    await Promise.all(others);
    expect(new Set(descriptors).size).toBe(1);
  });

  it("tells everybody who watched of a sync that failed, and nobody who came later", async () => {
    const { syncs, begun } = manual();
    await using one = await syncs.watch(tmpdir());
    await using other = await syncs.watch(tmpdir());
    const early = one.sync();
    await settled();
    const counted = one.sync();
    begun[0]?.reject(new Error("EIO"));
    await expect(early).rejects.toThrow("EIO");
    expect(() => other.check()).toThrow("EIO");
    await using later = await syncs.watch(tmpdir());
    const untouched = later.sync();
    await settled();
    begun[1]?.resolve();
    await expect(counted).rejects.toThrow("EIO");
    await settled();
    begun[2]?.resolve();
    await untouched;
    later.check();
  });

  it("holds the descriptor until the last sync has ended, and keeps only those waiting whose mount goes", async () => {
    const { syncs, begun, descriptors } = manual();
    const first = await syncs.watch(tmpdir());
    const early = first.sync();
    await settled();
    await first[Symbol.asyncDispose]();
    const second = await syncs.watch(tmpdir(), { isTemporary: true });
    let isDisposed = false;
    const disposing = second[Symbol.asyncDispose]().then(() => (isDisposed = true));
    await settled();
    expect(isDisposed).toBe(false);
    begun[0]?.resolve();
    await Promise.all([early, disposing]);
    expect(descriptors.length).toBe(1);
  });

  it("syncs a real file system, and fails where there is none", async () => {
    await using device = await new DeviceSyncs().watch(tmpdir());
    await device.sync();
    await expect(new DeviceSyncs().watch("/nowhere/at/all")).rejects.toThrow("ENOENT");
  });
});
