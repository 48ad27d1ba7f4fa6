import fc from "fast-check";
import { expect, it } from "vitest";

import { parseChallenges } from "./challenge.ts";

it.each([
  [
    'Bearer realm="https://a/t",service="s",scope="repository:x:pull"',
    [["bearer", { realm: "https://a/t", service: "s", scope: "repository:x:pull" }]],
  ],
  ['Basic realm="x"', [["basic", { realm: "x" }]]],
  [
    'Basic realm="x", Bearer realm="https://a/t"',
    [
      ["bearer", { realm: "https://a/t" }],
      ["basic", { realm: "x" }],
    ],
  ],
  ["Negotiate", [["negotiate", {}]]],
  [
    "Negotiate YWJj==, Basic realm=x",
    [
      ["basic", { realm: "x" }],
      ["negotiate", {}],
    ],
  ],
  ['bearer Realm = "a\\"b" , service=s', [["bearer", { realm: 'a"b', service: "s" }]]],
  ['Bearer realm="a",realm="b"', [["bearer", { realm: "a" }]]],
  ["Bearer realm", [["bearer", {}]]],
  ["", []],
  [",,,", []],
  ['="x"', []],
])("parseChallenges(%j)", (header, expected) => {
  const found = parseChallenges([header]);
  expect(found.map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)])).toEqual(expected);
});

it("parseChallenges reads several headers, the best scheme first", () => {
  expect(parseChallenges(["Basic realm=a", 'Bearer realm="b"']).map(({ scheme }) => scheme)).toEqual([
    "bearer",
    "basic",
  ]);
});

it("parseChallenges gives back any parameter that is quoted well", () => {
  fc.assert(
    fc.property(fc.stringMatching(/^[\x20-\x7e]{0,40}$/), (value) => {
      const quoted = value.replaceAll(/["\\]/g, "\\$&");
      expect(parseChallenges([`Bearer realm="${quoted}"`])[0]?.parameters.get("realm")).toBe(value);
    }),
  );
});

it("parseChallenges never throws and ends in good time", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string({ maxLength: 200 }), fc.stringMatching(/^[Bearl="\\, ]{0,200}$/)), (text) => {
      expect(Array.isArray(parseChallenges([text]))).toBe(true);
    }),
  );
  const before = performance.now();
  for (const hostile of [
    `Bearer ${"a".repeat(100_000)}`,
    `Bearer realm="${'\\"'.repeat(50_000)}`,
    " ".repeat(100_000),
    "a ".repeat(50_000),
  ]) {
    parseChallenges([hostile]);
  }
  expect(performance.now() - before).toBeLessThan(2000);
});
