import { Code, codeOf } from "@berth/errors";
import { expect, it } from "vitest";

import { sourceLabels } from "./distribution-source.ts";

it.each([
  ["docker.io/library/busybox:1", "docker.io", "library/busybox"],
  ["localhost:5000/a/b@sha256:" + "a".repeat(64), "localhost", "a/b"],
])("sourceLabels(%j) names registry and repository", (name, registry, repository) => {
  expect([...sourceLabels(name)]).toEqual([[`containerd.io/distribution.source.${registry}`, repository]]);
});

it("sourceLabels refuses what is no reference", () => {
  let error: unknown;
  try {
    sourceLabels("/");
  } catch (thrown) {
    error = thrown;
  }
  expect(codeOf(error)).toBe(Code.InvalidArgument);
});
