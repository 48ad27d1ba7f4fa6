import fc from "fast-check";
import { expect, it } from "vitest";

import { commonDirectory, splitLowerDirectories } from "./overlay-mount.ts";

it.each([
  ["/a:/b", ["/a", "/b"]],
  ["/a", ["/a"]],
  ["", []],
  [String.raw`/a\:b:/c\\d`, ["/a:b", String.raw`/c\d`]],
])("splitLowerDirectories(%j) is %j", (value, expected) => {
  expect(splitLowerDirectories(value)).toEqual(expected);
});

it("splitLowerDirectories undoes the escaping of any directory names", () => {
  const name = fc.string({ minLength: 1 }).map((text) => `/${text}`);
  fc.assert(
    fc.property(fc.array(name, { minLength: 1 }), (names) => {
      const value = names.map((text) => text.replaceAll(/[\\:]/g, String.raw`\$&`)).join(":");
      expect(splitLowerDirectories(value)).toEqual(names);
    }),
  );
});

it.each([
  [["/r/1/fs", "/r/2/fs"], "/r"],
  [["/r/1/fs"], "/r/1"],
  [["/r/1", "/r/10"], "/r"],
  [["/r/snap/1", "/r/snapshots/1"], "/r"],
  [["/a", "/b"], "/"],
])("commonDirectory(%j) is %j", (paths, expected) => {
  expect(commonDirectory(paths)).toBe(expected);
});
