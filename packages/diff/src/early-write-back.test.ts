import { setTimeout as sleep } from "node:timers/promises";

import { describe, expect, it } from "vitest";

import { withEarlyWriteBack } from "./early-write-back.ts";

/** Syncs that the test ends one by one. */
function manual() {
  const begun: PromiseWithResolvers<void>[] = [];
  let changed = Promise.withResolvers<void>();
  return {
    begun,
    sync: (): Promise<void> => {
      const one = Promise.withResolvers<void>();
      begun.push(one);
      changed.resolve();
      changed = Promise.withResolvers();
      return one.promise;
    },
    /** Resolves when so many have begun. */
    async reached(count: number): Promise<void> {
      while (begun.length < count) await changed.promise;
    },
  };
}

const cell = (): Int32Array<SharedArrayBuffer> => new Int32Array(new SharedArrayBuffer(4));
/** Several looks. */
const aWhile = (): Promise<void> => sleep(250);

describe("withEarlyWriteBack", () => {
  it("has the disk write when there is enough, once at a time, and waits for none of it", async () => {
    const syncs = manual();
    const unpacked = cell();
    const result = await withEarlyWriteBack({ device: syncs, unpacked }, async () => {
      await aWhile();
      expect(syncs.begun).toHaveLength(0);
      unpacked[0] = 40;
      await syncs.reached(1);
      unpacked[0] = 400;
      await aWhile();
      expect(syncs.begun).toHaveLength(1);
      syncs.begun[0]?.resolve();
      await syncs.reached(2);
      return "done";
    });
    expect(result).toBe("done");
    syncs.begun[1]?.resolve();
    unpacked[0] = 4000;
    await aWhile();
    expect(syncs.begun).toHaveLength(2);
  });

  it("fails as the work does only: the device knows what the disk failed", async () => {
    const syncs = manual();
    const unpacked = cell();
    const running = withEarlyWriteBack({ device: syncs, unpacked }, async () => {
      unpacked[0] = 100;
      await syncs.reached(1);
      syncs.begun[0]?.reject(new Error("disk"));
      await aWhile();
      return "done";
    });
    await expect(running).resolves.toBe("done");
  });

  it("passes on what the work throws, whatever becomes of the disk", async () => {
    const syncs = manual();
    const unpacked = cell();
    const running = withEarlyWriteBack({ device: syncs, unpacked }, async () => {
      unpacked[0] = 100;
      await syncs.reached(1);
      throw new Error("archive");
    });
    await expect(running).rejects.toThrow("archive");
    syncs.begun[0]?.reject(new Error("disk"));
    await aWhile();
  });
});
