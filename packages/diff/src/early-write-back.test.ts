import { setTimeout as sleep } from "node:timers/promises";

import { describe, expect, it } from "vitest";

import { withEarlyWriteBack } from "./early-write-back.ts";

const PATH = "/layer";

/** Syncs that the test ends one by one. */
function manual() {
  const begun: (PromiseWithResolvers<void> & { readonly path: string })[] = [];
  let changed = Promise.withResolvers<void>();
  return {
    begun,
    sync: (path: string): Promise<void> => {
      const one = Promise.withResolvers<void>();
      begun.push({ ...one, path });
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
    const result = await withEarlyWriteBack({ syncs, path: PATH, unpacked }, async () => {
      await aWhile();
      expect(syncs.begun).toHaveLength(0);
      unpacked[0] = 40;
      await syncs.reached(1);
      unpacked[0] = 400;
      await aWhile();
      expect(syncs.begun.map(({ path }) => path)).toEqual([PATH]);
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

  it("fails where the disk failed meanwhile, and only afterwards", async () => {
    const syncs = manual();
    const unpacked = cell();
    let isDone = false;
    const running = withEarlyWriteBack({ syncs, path: PATH, unpacked }, async () => {
      unpacked[0] = 100;
      await syncs.reached(1);
      syncs.begun[0]?.reject(new Error("disk"));
      await aWhile();
      isDone = true;
    });
    await expect(running).rejects.toThrow("disk");
    expect(isDone).toBe(true);
  });

  it("passes on what the work throws, whatever becomes of the disk", async () => {
    const syncs = manual();
    const unpacked = cell();
    const running = withEarlyWriteBack({ syncs, path: PATH, unpacked }, async () => {
      unpacked[0] = 100;
      await syncs.reached(1);
      throw new Error("archive");
    });
    await expect(running).rejects.toThrow("archive");
    syncs.begun[0]?.reject(new Error("disk"));
    await aWhile();
  });
});
