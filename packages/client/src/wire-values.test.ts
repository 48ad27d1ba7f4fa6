import { Code, codeOf } from "@berth/errors";
import { describe, expect, it } from "vitest";

import { fromProtoInt } from "./wire-values.ts";

describe("fromProtoInt", () => {
  it("narrows what fits and refuses what does not", () => {
    expect(fromProtoInt(2n ** 53n - 1n)).toBe(Number.MAX_SAFE_INTEGER);
    for (const value of [2n ** 53n, -(2n ** 53n), 2n ** 63n - 1n]) {
      let error: unknown;
      try {
        fromProtoInt(value);
      } catch (thrown) {
        error = thrown;
      }
      expect(codeOf(error)).toBe(Code.OutOfRange);
    }
  });
});
