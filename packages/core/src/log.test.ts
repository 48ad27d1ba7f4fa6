import { expect, it } from "vitest";

import { loggerOf } from "./log.ts";

it("loggerOf hands on each line with its level and the fields of all that it was made from", () => {
  const lines: unknown[] = [];
  const log = loggerOf((...line) => void lines.push(line), { id: "a", key: "of the first" });
  log.warn("one");
  log.with({ key: "of the second" }).with({ digest: "d" }).trace("two", { error: "e", id: "b" });
  expect(lines).toEqual([
    ["warn", "one", { id: "a", key: "of the first" }],
    ["trace", "two", { id: "b", key: "of the second", digest: "d", error: "e" }],
  ]);
});
