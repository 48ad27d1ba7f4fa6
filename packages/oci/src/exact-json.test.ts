import { expect, it } from "vitest";

import { parseExactJson } from "./exact-json.ts";

it.each([
  [`{"a":[18446744073709551615,-0,1e400,0.10]}`],
  [`{"__proto__":{"a":1},"b":"1","c":null}`],
  // Of what is there twice the last one, in the place of the first.
  [`{"a":1,"b":{},"a":2}`, `{"a":2,"b":{}}`],
  [`{"a":{"b":1},"\\u0061":{"c":1}}`, `{"a":{"c":1}}`],
  ["3"],
])("parseExactJson has %s written again as it stood", (text, expected = text) => {
  expect(JSON.stringify(parseExactJson(text))).toBe(expected);
});

it("parseExactJson leaves a number alone a number", () => {
  expect(parseExactJson("3")).toBe(3);
});
