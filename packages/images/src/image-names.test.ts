import { Code, codeOf } from "@berth/errors";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { normalizeDockerReference, translateReference } from "./image-names.ts";

const digest = `sha256:${"a".repeat(64)}`;

const codeFrom = (action: () => unknown): Code | undefined => {
  try {
    action();
  } catch (error) {
    return codeOf(error);
  }
  return undefined;
};

describe("normalizeDockerReference", () => {
  it.each([
    ["busybox", "docker.io/library/busybox:latest"],
    ["user/app:1", "docker.io/user/app:1"],
    ["index.docker.io/app", "docker.io/library/app:latest"],
    ["localhost/app", "localhost/app:latest"],
    ["host:5000/app", "host:5000/app:latest"],
    ["quay.io/a/b:v1", "quay.io/a/b:v1"],
    ["Host/app", "Host/app:latest"],
    [`app@${digest}`, `docker.io/library/app@${digest}`],
    [`quay.io/app:v1@${digest}`, `quay.io/app@${digest}`],
    ["[::1]:5000/a", "[::1]:5000/a:latest"],
  ])("%s is %s", (text, expected) => {
    expect(normalizeDockerReference(text)).toBe(expected);
  });

  it.each([
    "",
    ":",
    "@",
    "A",
    "a b",
    "a:",
    "a:b c",
    "a//b",
    "/a",
    "a/",
    "-a",
    "a@sha256:x",
    "a".repeat(400),
    "0".repeat(64),
    "quay.io/B",
  ])("refuses %j", (text) => {
    expect(codeFrom(() => normalizeDockerReference(text))).toBe(Code.InvalidArgument);
  });

  it("is idempotent, and refuses with invalid_argument only", () => {
    const text = fc.string({ unit: fc.constantFrom("a", "B", "0", ".", "/", ":", "@", "-", "_", " "), maxLength: 20 });
    fc.assert(
      fc.property(text, (name) => {
        const code = codeFrom(() => {
          const full = normalizeDockerReference(name);
          expect(normalizeDockerReference(full)).toBe(full);
        });
        expect([undefined, Code.InvalidArgument]).toContain(code);
      }),
    );
  });
});

describe("translateReference", () => {
  it.each([
    ["v1", false, "p:v1"],
    ["v1", true, "p:v1"],
    ["quay.io/a:1", false, "quay.io/a:1"],
    ["quay.io/a:1", true, undefined],
    ["p/a:1", true, "p/a:1"],
    ["p:1", true, "p:1"],
    ["pq:1", true, undefined],
  ])("%s with only the prefix %s is %s", (name, onlyPrefix, expected) => {
    expect(translateReference(name, { prefix: "p", onlyPrefix })).toBe(expected);
  });
});
