import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { LaneQueue } from "./lane-queue.ts";

describe("LaneQueue", () => {
  it("keeps the order within each lane, whatever each item takes, and loses nothing", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.constantFrom("a", "b", "c"), fc.nat(4))), async (items) => {
        const done: [string, number][] = [];
        const queue = new LaneQueue<readonly [string, number, number]>({
          limit: 1000,
          process: async ([lane, ticks, index]) => {
            for (let tick = 0; tick < ticks; tick += 1) await Promise.resolve();
            done.push([lane, index]);
          },
          onDrop: () => expect.unreachable(),
        });
        for (const [index, [lane, ticks]] of items.entries()) queue.push(lane, [lane, ticks, index]);
        await queue.idle();
        expect(done).toHaveLength(items.length);
        for (const lane of ["a", "b", "c"]) {
          const order = done.filter(([each]) => each === lane).map(([, index]) => index);
          expect(order).toEqual(order.toSorted((left, right) => left - right));
        }
      }),
    );
  });

  it("does not let a lane that is stuck hold up another one", async () => {
    const stuck = Promise.withResolvers<void>();
    const done: string[] = [];
    const queue = new LaneQueue<string>({
      limit: 10,
      process: async (item) => {
        if (item === "stuck") await stuck.promise;
        done.push(item);
      },
      onDrop: () => expect.unreachable(),
    });
    for (const item of ["stuck", "behind"]) queue.push("a", item);
    for (const item of ["one", "two"]) queue.push("b", item);
    await expect.poll(() => done).toEqual(["one", "two"]);
    stuck.resolve();
    await queue.idle();
    expect(done).toEqual(["one", "two", "stuck", "behind"]);
  });

  it("takes the room from the lane that needs most of it", async () => {
    const stuck = Promise.withResolvers<void>();
    const dropped: string[] = [];
    const queue = new LaneQueue<string>({
      limit: 6,
      process: () => stuck.promise,
      onDrop: (item) => void dropped.push(item),
    });
    for (const item of ["b1", "b2"]) queue.push("b", item);
    for (const item of ["a1", "a2", "a3", "a4", "a5", "a6"]) queue.push("a", item);
    expect(dropped).toEqual(["a2", "a3"]);
    queue.push("c", "c1");
    expect(dropped).toEqual(["a2", "a3", "a4"]);
    stuck.resolve();
    await queue.idle();
  });

  it("keeps no more than its limit: the oldest that waits goes, the newcomer where none waits", async () => {
    const stuck = Promise.withResolvers<void>();
    const dropped: number[] = [];
    const queue = new LaneQueue<number>({
      limit: 3,
      process: () => stuck.promise,
      onDrop: (item) => void dropped.push(item),
    });
    for (const item of [1, 2, 3, 4]) queue.push("a", item);
    expect(dropped).toEqual([2]);
    queue.push("b", 5);
    queue.push("c", 6);
    expect(dropped).toEqual([2, 3, 4]);
    queue.push("d", 7);
    expect(dropped).toEqual([2, 3, 4, 7]);
    stuck.resolve();
    await queue.idle();
  });
});
