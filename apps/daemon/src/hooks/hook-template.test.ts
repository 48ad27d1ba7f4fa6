import { Code, codeOf } from "@berth/errors";
import { describe, expect, it } from "vitest";

import { expandTemplate } from "./hook-template.ts";

const functions = {
  id: () => "c1",
  annotation: (key: string) =>
    new Map([
      ["a.b/c", "value"],
      ['q"', "quoted"],
    ]).get(key) ?? "",
};

describe("expandTemplate", () => {
  it.each([
    ["", ""],
    ["plain } text {", "plain } text {"],
    ["{{id}}", "c1"],
    ["a{{ id }}b{{id}}c", "ac1bc1c"],
    ['x={{annotation "a.b/c"}}', "x=value"],
    ["{{ annotation `a.b/c` }}", "value"],
    ['{{annotation "q\\""}}', "quoted"],
    ['{{annotation "nothing"}}', ""],
    ["a  {{- id -}}  b", "ac1b"],
    ["a  {{id}}  b", "a  c1  b"],
    ["{{annotation `toString`}}", ""],
  ])("fills in %j as %j", (text, expected) => {
    expect(expandTemplate(text, functions)).toBe(expected);
  });

  it.each([
    "{{",
    "{{id",
    "{{}}",
    "{{unknown}}",
    "{{toString}}",
    "{{id id}}",
    "{{annotation}}",
    '{{annotation "a}}',
    "{{annotation id}}",
    "{{.}}",
    "{{if id}}",
  ])("refuses %j", (text) => {
    let error: unknown;
    try {
      expandTemplate(text, functions);
    } catch (thrown) {
      error = thrown;
    }
    expect(codeOf(error)).toBe(Code.InvalidArgument);
  });
});
