import type { ActiveMount } from "@berth/core/mount";
import { Code, codeOf } from "@berth/errors";
import fc from "fast-check";
import { expect, it } from "vitest";

import { noData } from "../active-mount.ts";
import { expandTemplate } from "./expand-template.ts";

const active: readonly ActiveMount[] = ["a", "b", "c"].map((name) => ({
  type: "ext4",
  source: `source-${name}`,
  target: `target-${name}`,
  options: [],
  mountPoint: `/t/${name}`,
  mountedAt: 0,
  data: noData,
}));

it.each([
  ["plain {text} }} with $ signs", "plain {text} }} with $ signs"],
  ["{{ mount 0 }}", "/t/a"],
  ["{{mount 2}}/upper", "/t/c/upper"],
  ["{{  source   1  }}+{{ target 1 }}", "source-b+target-b"],
  ["lowerdir={{ overlay 0 2 }}", "lowerdir=/t/a:/t/b:/t/c"],
  ["{{ overlay 2 0 }}", "/t/c:/t/b:/t/a"],
  ["{{ overlay 1 1 }}", "/t/b"],
  ["a {{- mount 0 -}} b", "a/t/ab"],
  ["a {{ mount 0 -}} b {{- mount 1 }} c", "a /t/ab/t/b c"],
  ["}}{{ mount 0 }}{", "}}/t/a{"],
])("expandTemplate(%j) is %j", (text, expected) => {
  expect(expandTemplate(text, active)).toBe(expected);
});

it("expandTemplate never lets an action stand, and never fails otherwise than as invalid_argument", () => {
  const piece = fc.constantFrom(
    "{{",
    "}}",
    "{{ ",
    " }}",
    "{{- ",
    " -}}",
    "mount",
    "overlay",
    " ",
    "0",
    "1",
    "9",
    "-1",
    "x",
    "{",
    "}",
    "\n",
    "|",
  );
  const text = fc.oneof(
    fc.string(),
    fc.array(piece, { maxLength: 30 }).map((parts) => parts.join("")),
  );
  fc.assert(
    fc.property(text, (each) => {
      try {
        // no mount point here has braces
        expect(expandTemplate(each, active)).not.toContain("{{");
      } catch (error) {
        expect(codeOf(error)).toBe(Code.InvalidArgument);
      }
    }),
  );
});

it("expandTemplate takes no longer than the text is long", () => {
  const before = performance.now();
  for (const text of [
    "{{".repeat(500_000),
    "{{ mount 0 ".repeat(100_000),
    `{{${" ".repeat(1_000_000)}`,
    `{{ mount${" 0".repeat(400_000)} }}`,
  ]) {
    expect(() => expandTemplate(text, active)).toThrow("template");
  }
  // generous: a quadratic scan of these takes minutes
  expect(performance.now() - before).toBeLessThan(5000);
});
