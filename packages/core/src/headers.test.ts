import fc from "fast-check";
import { expect, it } from "vitest";

import { Headers as PlainHeaders } from "./headers.ts";

const name = fc.oneof(
  fc.constantFrom("a", "A", "b-c", "B-C", "set-cookie", "Set-Cookie", "x_y", "grpc-status", ""),
  fc.string({ maxLength: 4 }),
);
const value = fc.oneof(
  fc.constantFrom("", "1", " spaced\t", "\u00FF", "\u0100", "a\r\nb", "\0", "in side"),
  fc.string({ maxLength: 6, unit: "binary" }),
);
const step = fc.oneof(
  fc.tuple(fc.constantFrom("append" as const, "set" as const), name, value),
  fc.tuple(fc.constantFrom("delete" as const, "get" as const, "has" as const), name),
);
const init = fc.oneof(
  fc.array(fc.tuple(name, value)).map((pairs) => pairs.map(([first, second]): [string, string] => [first, second])),
  fc.dictionary(name, value),
  fc.constant(undefined),
);

type Step = readonly ["append" | "set" | "delete" | "get" | "has", ...string[]];

/** What can be seen of headers after each step, errors by their kind. */
function history(make: () => Headers, steps: readonly Step[]): unknown[] {
  const seen: unknown[] = [];
  const attempt = <T>(action: () => T): T | undefined => {
    try {
      return action();
    } catch (error) {
      seen.push((error as Error).name); // whatever else it were would have a name too
      return undefined;
    }
  };
  const headers = attempt(make);
  if (headers === undefined) return seen;
  for (const [method, ...args] of steps) {
    seen.push(attempt(() => Reflect.apply(headers[method], headers, args)));
    seen.push([...headers], [...headers.keys()], [...headers.values()], headers.getSetCookie());
  }
  headers.forEach((each, key, all) => seen.push([each, key, all === headers]));
  return seen;
}

it("Headers does what the platform's does", () => {
  fc.assert(
    fc.property(init, fc.array(step, { maxLength: 8 }), (from, steps) => {
      expect(history(() => new PlainHeaders(from), steps)).toEqual(history(() => new Headers(from), steps));
    }),
    { numRuns: 500 },
  );
});
