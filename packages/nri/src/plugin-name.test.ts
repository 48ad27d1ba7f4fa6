import { describe, expect, it } from "vitest";

import { checkPluginName, parsePluginFileName } from "./plugin-name.ts";

describe("names of plugins", () => {
  it.each([
    ["00-a", { index: "00", name: "a" }],
    ["42-two-words.sh", { index: "42", name: "two-words.sh" }],
    ["1-a", undefined],
    ["100-a", undefined],
    ["aa-a", undefined],
    ["plugin", undefined],
    ["-a", undefined],
  ])("parsePluginFileName(%j) is %j", (text, expected) => {
    if (expected === undefined) expect(() => parsePluginFileName(text)).toThrow();
    else expect(parsePluginFileName(text)).toEqual(expected);
  });

  it.each([
    ["00", "a", true],
    ["99", "A_b.c+d-e", true],
    ["00", "", false],
    ["00", "a b", false],
    ["00", "ä", false],
    ["00", "../a", false],
    ["0", "a", false],
    ["٠١", "a", false],
  ])("checkPluginName(%j, %j) agrees: %j", (index, name, agrees) => {
    const check = (): void => checkPluginName({ index, name });
    if (agrees) expect(check).not.toThrow();
    else expect(check).toThrow();
  });
});
