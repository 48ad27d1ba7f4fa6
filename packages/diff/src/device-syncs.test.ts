import { tmpdir } from "node:os";

import { describe, expect, it } from "vitest";

import { DeviceSyncs } from "./device-syncs.ts";

/** Syncs that the test ends one by one. */
function manual(): { readonly group: DeviceSyncs; readonly begun: PromiseWithResolvers<void>[] } {
  const begun: PromiseWithResolvers<void>[] = [];
  const group = new DeviceSyncs(() => {
    const sync = Promise.withResolvers<void>();
    begun.push(sync);
    return sync.promise;
  });
  return { group, begun };
}

const settled = async (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 20));

describe("DeviceSyncs", () => {
  it("begins a sync after each call, and shares it among all who came before it began", async () => {
    const { group, begun } = manual();
    const done: string[] = [];
    const call = (name: string): Promise<void> => group.sync(tmpdir()).then(() => void done.push(name));
    const first = call("first");
    await settled();
    const others = [call("second"), call("third")];
    await settled();
    expect(begun.length).toBe(1);
    begun[0]?.resolve();
    await first;
    await settled();
    expect([begun.length, done]).toEqual([2, ["first"]]);
    const last = call("last");
    await settled();
    expect(begun.length).toBe(2);
    begun[1]?.resolve();
    await Promise.all(others);
    await settled();
    expect([begun.length, done.toSorted()]).toEqual([3, ["first", "second", "third"]]);
    begun[2]?.resolve();
    await last;
    const again = call("again");
    await settled();
    expect(begun.length).toBe(4);
    begun[3]?.resolve();
    await again;
  });

  it("gives a failed sync to those who waited for it, and syncs anew for the others", async () => {
    const { group, begun } = manual();
    const first = group.sync(tmpdir());
    await settled();
    const second = group.sync(tmpdir());
    await settled();
    begun[0]?.reject(new Error("EIO"));
    await expect(first).rejects.toThrow("EIO");
    await settled();
    begun[1]?.resolve();
    await expect(second).resolves.toBe(undefined);
  });

  it("syncs a real file system, and fails where there is none", async () => {
    await new DeviceSyncs().sync(tmpdir());
    await expect(new DeviceSyncs().sync("/nowhere/at/all")).rejects.toThrow("ENOENT");
  });
});
