import fc from "fast-check";
import { expect, it } from "vitest";

import { parseMountInfo, readMountInfo } from "./mount-info.ts";

const ESCAPED = new Map([
  [" ", "\\040"],
  ["\t", "\\011"],
  ["\n", "\\012"],
  ["\\", "\\134"],
]);
const escape = (text: string): string => text.replaceAll(/[ \t\n\\]/g, (char) => ESCAPED.get(char) ?? char);
const path = fc.string({ minLength: 1, unit: "grapheme" }).map((text) => `/${text}`);
const word = fc.stringMatching(/^[a-z]{1,8}$/);

it("parseMountInfo gives back every field of a line the kernel writes, escapes included", () => {
  const record = fc.record({ root: path, point: path, source: path, tags: fc.array(word), type: word, option: word });
  fc.assert(
    fc.property(record, ({ root, point, source, tags, type, option }) => {
      const propagation = tags.map((tag) => `${tag}:1`);
      const left = ["36", "35", "98:0", escape(root), escape(point), `rw,${option}`, ...propagation];
      const line = [...left, "-", type, escape(source), `rw,${option}`].join(" ");
      expect(parseMountInfo(`${line}\n`)).toEqual([
        {
          id: 36,
          parentId: 35,
          major: 98,
          minor: 0,
          root,
          mountPoint: point,
          options: ["rw", option],
          propagation,
          type,
          source,
          superOptions: ["rw", option],
        },
      ]);
    }),
  );
});

it("parseMountInfo leaves out lines that are none and never throws", () => {
  fc.assert(fc.property(fc.string(), (text) => void parseMountInfo(text)));
  expect(parseMountInfo("\nnot a mount\n36 35 98:0 / /mnt rw\n")).toEqual([]);
});

it("readMountInfo sees the root of this machine", () => {
  expect(readMountInfo().some((mount) => mount.mountPoint === "/" && mount.type !== "")).toBe(true);
});
