import { Code, codeOf } from "@berth/errors";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { parseStdioTarget } from "./stdio-uri.ts";

describe("parseStdioTarget", () => {
  it.each([
    ["", { kind: "none" }],
    ["/run/fifo/c1-stdout", { kind: "fifo", path: "/run/fifo/c1-stdout" }],
    ["fifo:///run/x", { kind: "fifo", path: "/run/x" }],
    ["file:///var/log/a%20b", { kind: "file", path: "/var/log/a b" }],
    ["binary:///bin/log?a=1&b=x%3Dy", { kind: "binary", path: "/bin/log", args: ["a", "1", "b", "x=y"], version: 1 }],
    ["ttrpc+unix:///run/s/x?streaming_id=c1-stdout", { kind: "stream", id: "c1-stdout" }],
    ["binary-v2:///bin/log", { kind: "binary", path: "/bin/log", args: [], version: 2 }],
  ])("%j", (text, expected) => {
    expect(parseStdioTarget(text)).toEqual(expected);
  });

  it.each([
    "relative",
    "ftp:///x",
    "file://relative",
    "file:///%zz",
    "binary://",
    "/a\0b",
    "constructor:///x",
    "ttrpc+unix:///x",
  ])("refuses %j", (text) => {
    let code: Code | undefined;
    try {
      parseStdioTarget(text);
    } catch (error) {
      code = codeOf(error);
    }
    expect(code).toBe(Code.InvalidArgument);
  });

  it("answers an absolute path or refuses, whatever the text", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.webUrl(),
          fc.string().map((rest) => `file://${rest}`),
        ),
        (text) => {
          try {
            const target = parseStdioTarget(text);
            if (target.kind === "stream") expect(target.id).not.toBe("");
            else if (target.kind !== "none") expect(target.path).toMatch(/^\/[^\0]*$/u);
          } catch (error) {
            expect(codeOf(error)).toBe(Code.InvalidArgument);
          }
        },
      ),
    );
  });
});
