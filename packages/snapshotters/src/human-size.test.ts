import { Code, codeOf } from "@berth/errors";
import { describe, expect, it } from "vitest";

import { parseHumanSize } from "./human-size.ts";

describe("parseHumanSize", () => {
  it.each([
    ["0", 0],
    ["512", 512],
    ["512b", 512],
    ["32 KiB", 32 * 1024],
    ["32kb", 32 * 1024],
    ["1.5G", 1.5 * 1024 ** 3],
    ["10GB", 10 * 1024 ** 3],
    ["2 t", 2 * 1024 ** 4],
    ["1P", 1024 ** 5],
    [".5k", 512],
  ])("%j is %d", (text, expected) => {
    expect(parseHumanSize(text)).toBe(expected);
  });

  it.each(["", "G", "-1", "1e9", "1 0", "10GBB", "10x", "1kbi", "99999P", "0x10", "1bib"])("refuses %j", (text) => {
    let thrown: unknown;
    try {
      parseHumanSize(text);
    } catch (error) {
      thrown = error;
    }
    expect(codeOf(thrown)).toBe(Code.InvalidArgument);
  });
});
