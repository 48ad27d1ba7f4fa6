import { expect, it } from "vitest";

import { Turns } from "./turns.ts";

it("Turns lets no more than its limit in, in order", async () => {
  const turns = new Turns(2);
  const entered: number[] = [];
  const held: Disposable[] = [];
  const work = [1, 2, 3, 4].map(async (n) => {
    held.push(await turns.acquire());
    entered.push(n);
  });
  await Promise.all(work.slice(0, 2));
  expect(entered).toEqual([1, 2]);
  held[0]?.[Symbol.dispose]();
  held[0]?.[Symbol.dispose]();
  await work[2];
  expect(entered).toEqual([1, 2, 3]);
  held[1]?.[Symbol.dispose]();
  await work[3];
  expect(entered).toEqual([1, 2, 3, 4]);
});

it("run gives the turn on when its work fails, and not before it ends", async () => {
  const turns = new Turns(1);
  const { promise: fail, reject } = Promise.withResolvers<never>();
  const order: string[] = [];
  const failed = turns.run(() => fail).catch(() => order.push("failed"));
  const next = turns.run(async () => order.push("next"));
  await new Promise(setImmediate);
  expect(order).toEqual([]);
  reject(new Error("no"));
  await Promise.all([failed, next]);
  expect(order.toSorted()).toEqual(["failed", "next"]);
});

it("tryAcquire takes no turn from those who wait", async () => {
  const turns = new Turns(1);
  const first = turns.tryAcquire();
  expect(first).toBeDefined();
  expect(turns.tryAcquire()).toBeUndefined();
  const waiting = turns.acquire();
  first?.[Symbol.dispose]();
  expect(turns.tryAcquire()).toBeUndefined();
  (await waiting)[Symbol.dispose]();
  expect(turns.tryAcquire()).toBeDefined();
});

it("acquire that is aborted leaves the line, and takes no turn from those behind it", async () => {
  const turns = new Turns(1);
  const first = turns.tryAcquire();
  const stop = new AbortController();
  const given = turns.acquire({ signal: stop.signal });
  const next = turns.acquire();
  stop.abort(new Error("enough"));
  await expect(given).rejects.toThrow("enough");
  await expect(turns.acquire({ signal: stop.signal })).rejects.toThrow("enough");
  first?.[Symbol.dispose]();
  (await next)[Symbol.dispose]();
  expect(turns.tryAcquire()).toBeDefined();
});
