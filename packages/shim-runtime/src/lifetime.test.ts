import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { Lifetime } from "./lifetime.ts";

describe("Lifetime", () => {
  let size = 0;
  let over = false;
  const open = (options: { pool: boolean; maxContainers?: number }): Lifetime => {
    const lifetime = new Lifetime({ maxContainers: 2, lingerMs: 1000, size: () => size, ...options });
    void lifetime.ended.then(() => (over = true));
    return lifetime;
  };
  beforeEach(() => {
    vi.useFakeTimers();
    [size, over] = [0, false];
  });
  afterEach(() => vi.useRealTimers());

  it("takes as many containers as it may, reserved or there, and repeats an answer", () => {
    const lifetime = open({ pool: true });
    size = 1;
    expect(lifetime.reserve("a")).toBe(true);
    expect(lifetime.reserve("a")).toBe(true);
    expect(lifetime.reserve("b")).toBe(false);
    lifetime.release("a");
    expect(lifetime.reserve("b")).toBe(true);
  });

  it("counts a container once that is being created", () => {
    const isCounted = (id: string): boolean => id === "a";
    using lifetime = new Lifetime({ pool: true, maxContainers: 2, lingerMs: 1000, size: () => size, isCounted });
    lifetime.reserve("a");
    size = 1;
    expect(lifetime.reserve("b")).toBe(true);
    expect(lifetime.reserve("c")).toBe(false);
  });

  it("ends a while after the last container, not before", async () => {
    const lifetime = open({ pool: true });
    lifetime.reserve("a");
    size = 1;
    lifetime.release("a");
    await vi.advanceTimersByTimeAsync(100_000);
    expect(over).toBe(false);
    size = 0;
    lifetime.changed();
    await vi.advanceTimersByTimeAsync(999);
    expect(over).toBe(false);
    await vi.advanceTimersByTimeAsync(1);
    expect(over).toBe(true);
    expect(lifetime.isEnding).toBe(true);
    expect(lifetime.reserve("b")).toBe(false);
  });

  it("forgets a reservation that nobody uses", async () => {
    open({ pool: true }).reserve("a");
    await vi.advanceTimersByTimeAsync(60_000);
    expect(over).toBe(false);
    await vi.advanceTimersByTimeAsync(1000);
    expect(over).toBe(true);
  });

  it.each([
    [false, 0, true],
    [false, 1, false],
    [true, 0, false],
  ])("asked to shut down (pool %s, %i containers): ends %s", async (pool, containers, expected) => {
    size = containers;
    open({ pool }).requestShutdown();
    await vi.advanceTimersByTimeAsync(0);
    expect(over).toBe(expected);
  });
});
