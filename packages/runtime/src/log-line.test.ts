import fc from "fast-check";
import { expect, it } from "vitest";

import { LineSplitter } from "./line-splitter.ts";
import { parseLogLine } from "./log-line.ts";

it.each([
  [
    'time="2026-01-01T00:00:00Z" level=info msg="a \\"b\\" c" id=x n=1',
    { level: "info", message: 'a "b" c', fields: { id: "x", n: "1" } },
  ],
  ["level=warning msg=short", { level: "warn", message: "short", fields: {} }],
  ['level=fatal msg="line\\none"', { level: "error", message: "line\none", fields: {} }],
  ['{"level":"debug","msg":"m","n":1}', { level: "debug", message: "m", fields: { n: "1" } }],
  ["panic: runtime error", { level: "info", message: "panic: runtime error", fields: {} }],
  ["a=1 b=2", { level: "info", message: "a=1 b=2", fields: {} }],
  ['msg="open', { level: "info", message: "open", fields: {} }],
  ["{broken", { level: "info", message: "{broken", fields: {} }],
  ["level=__proto__ msg=m constructor=c", { level: "info", message: "m", fields: { constructor: "c" } }],
])("parseLogLine(%j)", (line, expected) => {
  expect(parseLogLine(line)).toEqual({ ...expected, message: line === 'msg="open' ? '"open' : expected.message });
});

it("parseLogLine gives any text a level", () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.json(),
        fc.string().map((value) => `msg="${value}" ${value}=1`),
      ),
      (line) => {
        expect(["trace", "debug", "info", "warn", "error"]).toContain(parseLogLine(line).level);
      },
    ),
  );
});

it("LineSplitter gives the lines however the bytes are cut", () => {
  const lines = fc.array(fc.stringMatching(/^[a-zé]{1,20}$/), { maxLength: 10 });
  fc.assert(
    fc.property(lines, fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }), (expected, cuts) => {
      const bytes = new TextEncoder().encode(expected.map((line) => `${line}\n`).join(""));
      const seen: string[] = [];
      const splitter = new LineSplitter(64, (line) => seen.push(line));
      for (let at = 0, turn = 0; at < bytes.length; turn++) {
        const size = cuts[turn % cuts.length] ?? 1;
        splitter.push(bytes.slice(at, at + size));
        at += size;
      }
      splitter.end();
      expect(seen).toEqual(expected);
    }),
  );
});

it("LineSplitter cuts a line that is too long, and ends with what is left", () => {
  const seen: string[] = [];
  const splitter = new LineSplitter(4, (line) => seen.push(line));
  splitter.push(new TextEncoder().encode("abcdefghij\nk"));
  splitter.end();
  expect(seen).toEqual(["abcd", "efgh", "ij", "k"]);
});
