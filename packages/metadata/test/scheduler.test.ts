import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import type { GcSchedulerOptions } from "../src/index.ts";
import { GcScheduler } from "../src/index.ts";
import { parseGoDuration } from "@berth/core/go-duration";

const stats = { metadataMs: 1, totalMs: 1, marked: 0, removed: new Map(), removedFromBackends: 0 };

/** A store that only counts. */
function countingStore() {
  let listener: (dirty: boolean) => void = () => {};
  return {
    runs: 0,
    error: undefined as Error | undefined,
    trigger: undefined as unknown,
    async collect() {
      this.runs++;
      if (this.error !== undefined) throw this.error;
      return stats;
    },
    onCommit(given: (dirty: boolean) => void) {
      listener = given;
      return { [Symbol.dispose]: () => void (listener = () => {}) };
    },
    scheduleWith(given: unknown) {
      this.trigger = given;
      return { [Symbol.dispose]: () => void (this.trigger = undefined) };
    },
    commit: (dirty: boolean) => listener(dirty),
  };
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function start(options: GcSchedulerOptions = {}) {
  const store = countingStore();
  const scheduler = new GcScheduler(store, options);
  return { store, scheduler, [Symbol.dispose]: () => scheduler[Symbol.dispose]() };
}

describe("GcScheduler", () => {
  it("runs once after the startup delay, and not again while nothing happens", async () => {
    using running = start();
    await vi.advanceTimersByTimeAsync(99);
    expect(running.store.runs).toBe(0);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(running.store.runs).toBe(1);
  });

  it("without a startup delay waits for a deletion", async () => {
    using running = start({ startupDelayMs: 0 });
    await vi.advanceTimersByTimeAsync(60_000);
    expect(running.store.runs).toBe(0);
    running.store.commit(false);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(running.store.runs).toBe(0);
    running.store.commit(true);
    await vi.advanceTimersByTimeAsync(1);
    expect(running.store.runs).toBe(1);
  });

  it("collects a deletion within the pause that the threshold gives", async () => {
    using running = start({ pauseThreshold: 0.02 });
    await vi.advanceTimersByTimeAsync(1000);
    running.store.commit(true);
    await vi.advanceTimersByTimeAsync(244);
    expect(running.store.runs).toBe(1);
    await vi.advanceTimersByTimeAsync(2);
    expect(running.store.runs).toBe(2);
  });

  it("collects at once when the deletion threshold is reached", async () => {
    using running = start({ deletionThreshold: 3, scheduleDelayMs: 10 });
    await vi.advanceTimersByTimeAsync(1000);
    for (let count = 0; count < 3; count++) running.store.commit(true);
    await vi.advanceTimersByTimeAsync(11);
    expect(running.store.runs).toBe(2);
  });

  it("leaves fewer deletions than the threshold to the next regular run, also after a long rest", async () => {
    using running = start({ deletionThreshold: 3, pauseThreshold: 0.02 });
    await vi.advanceTimersByTimeAsync(60_000);
    running.store.commit(true);
    await vi.advanceTimersByTimeAsync(240);
    expect(running.store.runs).toBe(1);
    await vi.advanceTimersByTimeAsync(10);
    expect(running.store.runs).toBe(2);
  });

  it("keeps options within their limits", () => {
    using running = start({ pauseThreshold: 7, mutationThreshold: -1, scheduleDelayMs: -5, startupDelayMs: -5 });
    const expected = { pauseThreshold: 0.5, mutationThreshold: 0, scheduleDelayMs: 0, startupDelayMs: 0 };
    expect(running.scheduler.options).toMatchObject(expected);
  });

  it("counts mutations up to their threshold", async () => {
    using running = start({ mutationThreshold: 5 });
    await vi.advanceTimersByTimeAsync(1000);
    for (let count = 0; count < 4; count++) running.store.commit(false);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(running.store.runs).toBe(1);
    running.store.commit(false);
    await vi.advanceTimersByTimeAsync(1000);
    expect(running.store.runs).toBe(2);
  });

  it("runs at once on request, also for one made during a run", async () => {
    using running = start();
    await running.store.collect();
    const first = running.scheduler.collect();
    await vi.advanceTimersByTimeAsync(1);
    await first;
    const runs = running.store.runs;
    const second = running.scheduler.collect();
    await vi.advanceTimersByTimeAsync(1);
    await second;
    expect(running.store.runs).toBe(runs + 1);
  });

  it("tells who waits of a failure and tries again", async () => {
    using running = start({ startupDelayMs: 0 });
    running.store.error = new Error("disk");
    const failed = expect(running.scheduler.collect()).rejects.toThrow("disk");
    await vi.advanceTimersByTimeAsync(1);
    await failed;
    running.store.error = undefined;
    await vi.advanceTimersByTimeAsync(5000);
    expect(running.store.runs).toBeGreaterThan(1);
  });

  it("tells who listens of each run, and of none after", async () => {
    using running = start({ startupDelayMs: 0 });
    const heard: unknown[] = [];
    const listening = running.scheduler.onRun((run) => heard.push(run));
    const collect = async (): Promise<void> => {
      const collected = running.scheduler.collect().catch(() => {});
      await vi.advanceTimersByTimeAsync(1);
      await collected;
    };
    await collect();
    running.store.error = new Error("disk");
    await collect();
    listening[Symbol.dispose]();
    // One that fails is tried again, and fails again.
    expect(new Set(heard)).toEqual(new Set([{ pauseMs: 1 }, "failed"]));
    heard.length = 0;
    running.store.error = undefined;
    await collect();
    expect(heard).toEqual([]);
  });

  it("when it stops, fails who waits and lets go of the store", async () => {
    const { store, scheduler } = start({ scheduleDelayMs: 1000 });
    const waiting = expect(scheduler.collect()).rejects.toThrow();
    scheduler[Symbol.dispose]();
    scheduler[Symbol.dispose]();
    await waiting;
    await vi.advanceTimersByTimeAsync(10_000);
    expect([store.runs, store.trigger]).toEqual([0, undefined]);
    await expect(scheduler.collect()).rejects.toThrow();
  });
});

describe("parseGoDuration", () => {
  it.each([
    ["0", 0],
    ["0s", 0],
    ["100ms", 100],
    ["1h30m", 5_400_000],
    ["1.5s", 1500],
    ["-5s", -5000],
    [".5m", 30_000],
    ["1us", 0.001],
  ])("parseGoDuration(%j) is %j", (text, expected) => expect(parseGoDuration(text)).toBeCloseTo(expected, 6));

  it.each(["", "1", "s", "1d", "1 s", "1s ", "--1s", "1.2.3s", "."])("parseGoDuration(%j) throws", (text) => {
    expect(() => parseGoDuration(text)).toThrow();
  });
});
