import { Code, codeOf } from "@berth/errors";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { adapt } from "./filter.ts";
import { parseFilter, parseFilters } from "./parse-filter.ts";

const sample = adapt(
  { quoted: 'b"c', name: "docker.io/library/a:1", kind: "active", "target.digest": "sha256:0f" },
  {
    labels: new Map([
      ["x", "1"],
      ["path", "/a/b"],
      ["a.b/c", "two words"],
      ["__proto__", "p"],
    ]),
  },
);

describe("parseFilter", () => {
  it.each([
    ["", true],
    ["name", true],
    ["nothing", false],
    ["name==docker.io/library/a:1", true],
    ["name==a", false],
    ["target.digest==sha256:0f", true],
    ["labels.x==1", true],
    ["labels.x~=^1$", true],
    ["labels.y!=1", true],
    ["labels.x!=1", false],
    ['labels."a.b/c"=="two words"', true],
    ["labels.a.b", false],
    ["labels.__proto__==p", true],
    ["kind!=view", true],
    ["kind==active,labels.x==1", true],
    ["kind==active,labels.x==2", false],
    ["name~=/^docker.io\\/library/", true],
    ["name~=|a:\\d$|", true],
    ['labels.x=="\\x31"', true],
    [" kind ==\tactive, labels.x == 1", true],
    ["name~=/a:\\d$/", true],
    ["name~=/a:\\\\d$/", true],
    ['quoted==b"c', true],
    // containerd refuses these two.
    ["name~=.", true],
    ["labels.path==/a/b", true],
    ['quoted~=|"\\x63|', true],
  ])("parseFilter(%j) matches: %j", (text, expected) => {
    expect(parseFilter(text).matches(sample)).toBe(expected);
  });

  it.each([
    "==a",
    "name==",
    "name=a",
    "name==a,",
    "name==a b",
    "name==a ",
    "name ,kind",
    "labels .x",
    "kind!==view",
    "name===a",
    "labels.a-b==1",
    '"name',
    'name=="a',
    "name~=(",
    "name~=/a",
    ".a",
    "a..b",
    'a=="\\q"',
  ])("parseFilter(%j) is refused", (text) => {
    expect(() => parseFilter(text)).toThrow(
      expect.toSatisfy((error: unknown) => codeOf(error) === Code.InvalidArgument),
    );
  });

  it("takes any text without another error than invalid_argument", () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'ab.,=!~"/|\\ x*(+[)') }), (text) => {
        try {
          parseFilter(text).matches(sample);
        } catch (error) {
          expect(codeOf(error)).toBe(Code.InvalidArgument);
        }
      }),
    );
  });

  it("finds any value that is quoted", () => {
    fc.assert(
      fc.property(fc.string(), (value) => {
        const quoted = `"${value.replace(/["\\]/g, "\\$&").replaceAll("\n", "\\n")}"`;
        expect(parseFilter(`v==${quoted}`).matches(adapt({ v: value }))).toBe(true);
      }),
    );
  });

  it("takes linear time for an expression that backtracks", () => {
    const filter = parseFilter("v~=^(a+)+$");
    const started = performance.now();
    expect(filter.matches(adapt({ v: `${"a".repeat(2000)}b` }))).toBe(false);
    expect(performance.now() - started).toBeLessThan(2000);
  });
});

describe("parseFilters", () => {
  it("matches when any filter does, and everything when there is none", () => {
    expect(parseFilters(["kind==view", "labels.x==1"]).matches(sample)).toBe(true);
    expect(parseFilters(["kind==view", "labels.x==2"]).matches(sample)).toBe(false);
    expect(parseFilters([]).matches(sample)).toBe(true);
  });
});
