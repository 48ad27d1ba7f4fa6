import { Code, codeOf } from "@berth/errors";
import { expect, it } from "vitest";

import { isOwnUrl, originOf } from "./registry-host.ts";

it.each([
  ["https://example.org", "https://example.org/v2/", true],
  ["https://example.org:443", "https://example.org/v2/", true],
  ["https://example.org", "https://example.org:443/v2/", true],
  ["https://Example.ORG:5000", "https://example.org:5000/", true],
  ["http://example.org:80", "http://example.org/", true],
  ["http://example.org:5000", "https://example.org:5000/", true],
  ["http://example.org", "https://example.org/", true],
  ["https://[::1]:443", "https://[::1]/", true],
  ["https://example.org", "http://example.org/", false],
  ["https://example.org:80", "http://example.org/", false],
  ["https://example.org:5000", "http://example.org:5000/", false],
  ["https://example.org", "https://example.org:444/", false],
  ["https://example.org", "https://blobs.example.org/", false],
  ["https://example.org", "https://example.org.evil.test/", false],
] as const)("isOwnUrl of %s and %s is %s", (origin, url, expected) => {
  const [scheme, host] = origin.split("://") as ["http" | "https", string]; // As the table above has them.
  expect(isOwnUrl({ scheme, host }, new URL(url))).toBe(expected);
});

it("originOf refuses what is no host", () => {
  const refused = (host: string): unknown => {
    try {
      return originOf({ scheme: "https", host });
    } catch (error) {
      return codeOf(error);
    }
  };
  expect(["example.org:99999", "[::1", ""].map(refused)).toEqual(Array(3).fill(Code.InvalidArgument));
});
