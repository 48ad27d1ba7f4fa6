import { expect, it } from "vitest";

import { retryDelay } from "./retry-delay.ts";

const NOW = Date.parse("2026-01-01T00:00:00Z");

it.each([
  [0, undefined, 200],
  [3, undefined, 1600],
  [20, undefined, 5000],
  [0, "0", 0],
  [0, "7", 7000],
  [0, "Thu, 01 Jan 2026 00:00:03 GMT", 3000],
  [0, "Wed, 31 Dec 2025 00:00:00 GMT", 0],
  [0, "61", undefined],
  [0, "99999999999", 200],
  [1, "soon", 400],
])("retryDelay(%j, %j) is %j", (attempt, header, expected) => {
  expect(retryDelay(attempt, header, NOW)).toBe(expected);
});
