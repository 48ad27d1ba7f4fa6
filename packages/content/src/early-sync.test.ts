import type { FileHandle } from "node:fs/promises";

import { describe, expect, it } from "vitest";

import { EarlySync } from "./early-sync.ts";

/** A file whose syncs end when they are told to. */
function slowFile() {
  const syncs: PromiseWithResolvers<void>[] = [];
  const datasync = (): Promise<void> => {
    const sync = Promise.withResolvers<void>();
    syncs.push(sync);
    return sync.promise;
  };
  // Only this method is called.
  return { file: { datasync } as unknown as FileHandle, syncs };
}

describe("EarlySync", () => {
  it("syncs after so many bytes, one sync at a time", async () => {
    const { file, syncs } = slowFile();
    const early = new EarlySync(file, 10);
    early.wrote(9);
    expect(syncs).toHaveLength(0);
    early.wrote(1);
    early.wrote(50);
    expect(syncs).toHaveLength(1);
    syncs[0]?.resolve();
    await early.settle();
    early.wrote(1);
    expect(syncs).toHaveLength(2);
    syncs[1]?.resolve();
    await early.settle();
  });

  it("waits for the sync under way", async () => {
    const { file, syncs } = slowFile();
    const early = new EarlySync(file, 1);
    early.wrote(1);
    let settled = false;
    const settling = early.settle().then(() => (settled = true));
    await new Promise(setImmediate);
    expect(settled).toBe(false);
    syncs[0]?.resolve();
    await settling;
  });

  it("never forgets a failure, whatever succeeds later", async () => {
    const { file, syncs } = slowFile();
    const early = new EarlySync(file, 1);
    early.wrote(1);
    const lost = new Error("lost pages");
    syncs[0]?.reject(lost);
    await expect(early.settle()).rejects.toBe(lost);
    early.wrote(1);
    syncs[1]?.resolve();
    await expect(early.settle()).rejects.toBe(lost);
    expect(early.failure).toBe(lost);
  });
});
