import { codeName, codeOf } from "@berth/errors";
import { expect, it } from "vitest";

import { validateTopic } from "./topic.ts";

it.each(["/tasks/create", "/a", "/a.b/c-d_e", `/${"x".repeat(76)}`])("validateTopic accepts %j", (topic) => {
  expect(() => validateTopic(topic)).not.toThrow();
});

it.each(["", "/", "tasks/create", "/tasks/", "//tasks", "/tasks/?", "/ta sks", "/-a", `/${"x".repeat(77)}`])(
  "validateTopic refuses %j",
  (topic) => {
    const error = thrownBy(() => validateTopic(topic));
    expect(codeName(codeOf(error))).toBe("invalid_argument");
  },
);

function thrownBy(call: () => void): unknown {
  try {
    call();
  } catch (error) {
    return error;
  }
  return undefined;
}
