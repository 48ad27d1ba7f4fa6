import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { cleanPath, fromBytes, splitPath, toNative } from "./native-name.ts";

describe("fromBytes", () => {
  it("keeps every byte", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        expect(Buffer.from(toNative(fromBytes(bytes)))).toEqual(Buffer.from(bytes));
      }),
    );
  });

  it("spells a component alike, whatever is beside it", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 20 }), fc.uint8Array({ maxLength: 20 }), (left, right) => {
        const both = Buffer.concat([left, Buffer.from("/"), right]);
        expect(fromBytes(both)).toBe(`${fromBytes(left)}/${fromBytes(right)}`);
      }),
    );
  });
});

describe("cleanPath", () => {
  it.each([
    ["a/b", "a/b"],
    ["/a//b/./c/", "a/b/c"],
    ["../../a", "a"],
    ["a/../..//../b", "b"],
    ["./", ""],
    ["", ""],
    ["..", ""],
    ["a/.../b..", "a/.../b.."],
  ])("%j is %j", (path, clean) => {
    expect(cleanPath(path)).toBe(clean);
  });
});

describe("splitPath", () => {
  it.each([
    ["a", { directory: "", base: "a" }],
    ["a/b/c", { directory: "a/b", base: "c" }],
  ])("%j is %j", (path, parts) => {
    expect(splitPath(path)).toEqual(parts);
  });
});
