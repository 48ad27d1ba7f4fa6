import { describe, expect, it } from "vitest";

import { formatEventMask, NRI_EVENTS, parseEventMask } from "./plugin-events.ts";

describe("event masks", () => {
  it.each([
    [0, NRI_EVENTS.length],
    [0x3fff, NRI_EVENTS.length],
    [1, 1],
    [1 << 13, 1],
  ])("parseEventMask(%d) has %d events", (mask, count) => {
    expect(parseEventMask(mask).size).toBe(count);
  });

  it.each([1 << 14, -1, 1 << 31])("refuses %d: a bit stands for no event", (mask) => {
    expect(() => parseEventMask(mask)).toThrow();
  });

  it("is the inverse of formatEventMask", () => {
    const events = ["createContainer", "updatePodSandbox"] as const;
    expect(formatEventMask(events)).toBe((1 << 3) | (1 << 11));
    expect([...parseEventMask(formatEventMask(events))].toSorted()).toEqual(events);
  });
});
