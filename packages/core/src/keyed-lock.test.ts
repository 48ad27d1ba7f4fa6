import { describe, expect, it } from "vitest";

import { KeyedLock } from "./keyed-lock.ts";

const tick = () => new Promise((resolve) => setImmediate(resolve));

describe("KeyedLock", () => {
  it("lets one in at a time, in order, and those of another key beside them", async () => {
    const lock = new KeyedLock();
    const log: string[] = [];
    const work = async (key: string, name: string) => {
      using _lock = await lock.acquire(key);
      log.push(`${name} begins`);
      await tick();
      log.push(`${name} ends`);
    };
    await Promise.all([work("k", "a"), work("k", "b"), work("other", "c")]);
    expect(log.filter((entry) => !entry.startsWith("c"))).toEqual(["a begins", "a ends", "b begins", "b ends"]);
    expect(log.indexOf("c begins")).toBeLessThan(log.indexOf("b begins"));
  });

  it("does not deadlock where two want the same keys in another order, or one key twice", async () => {
    const lock = new KeyedLock();
    let held = 0;
    const work = async (keys: string[]) => {
      using _lock = await lock.acquire(keys);
      expect(++held).toBe(1);
      await tick();
      held--;
    };
    await Promise.all([work(["a", "b"]), work(["b", "a", "a"]), work(["a"])]);
  });

  it("an aborted wait gives its place away without letting the next one in too early", async () => {
    const lock = new KeyedLock();
    const first = await lock.acquire("k");
    const controller = new AbortController();
    const second = lock.acquire(["j", "k"], { signal: controller.signal });
    const third = lock.acquire("k");
    await tick();
    controller.abort(new Error("enough"));
    await expect(second).rejects.toThrow("enough");
    // What it held already is free again.
    (await lock.acquire("j"))[Symbol.dispose]();
    let settled = false;
    void lock.settled("k").then(() => (settled = true));
    await tick();
    expect(await Promise.race([third, tick().then(() => "waiting")])).toBe("waiting");
    first[Symbol.dispose]();
    (await third)[Symbol.dispose]();
    await tick();
    expect(settled).toBe(true);
  });
});
