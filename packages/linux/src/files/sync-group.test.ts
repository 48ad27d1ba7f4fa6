import { setImmediate } from "node:timers/promises";

import { describe, expect, it } from "vitest";

import { SyncGroup } from "./sync-group.ts";

/** A sync that ends when it is told to. */
function controlled() {
  const runs: PromiseWithResolvers<void>[] = [];
  const group = new SyncGroup(() => {
    const run = Promise.withResolvers<void>();
    runs.push(run);
    return run.promise;
  });
  return { group, runs };
}

describe("SyncGroup", () => {
  it("answers a call only by a sync that began after it, shared by all who wait", async () => {
    const { group, runs } = controlled();
    const first = group.wait();
    await setImmediate();
    expect(runs).toHaveLength(1);
    let answered = 0;
    const later = Array.from({ length: 5 }, () => group.wait().then(() => (answered += 1)));
    runs[0]?.resolve();
    await first;
    await setImmediate();
    expect(answered).toBe(0);
    expect(runs).toHaveLength(2);
    runs[1]?.resolve();
    await Promise.all(later);
    expect(answered).toBe(5);
    expect(runs).toHaveLength(2);
  });

  it("passes a failure to those who waited for that sync, and to nobody else", async () => {
    const { group, runs } = controlled();
    const first = group.wait();
    await setImmediate();
    const second = group.wait();
    runs[0]?.reject(new Error("disk"));
    await expect(first).rejects.toThrow("disk");
    await setImmediate();
    runs[1]?.resolve();
    await expect(second).resolves.toBeUndefined();
  });
});
