import { codeName, codeOf } from "@berth/errors";
import { expect, it } from "vitest";

import { parseRestartPolicy, RestartLabel, wantsRestart } from "./restart-labels.ts";

it.each([
  ["", { name: "always", maxRetries: 0 }],
  ["no", { name: "no", maxRetries: 0 }],
  ["always", { name: "always", maxRetries: 0 }],
  ["unless-stopped:", { name: "unless-stopped", maxRetries: 0 }],
  ["on-failure", { name: "on-failure", maxRetries: 0 }],
  ["on-failure:3", { name: "on-failure", maxRetries: 3 }],
] as const)("policy %j is %j", (text, expected) => {
  expect(parseRestartPolicy(text)).toEqual(expected);
});

it.each(["never", "always:2", "on-failure:", "on-failure:x", "on-failure:-1", "on-failure:1:2", "Always"])(
  "policy %j is refused",
  (text) => {
    let code = "ok";
    try {
      parseRestartPolicy(text);
    } catch (error) {
      code = codeName(codeOf(error));
    }
    expect(code).toBe("invalid_argument");
  },
);

it.each([
  ["", {}, 0, true],
  ["always", {}, undefined, true],
  ["no", {}, 1, false],
  ["on-failure", {}, 0, false],
  ["on-failure", {}, undefined, false],
  ["on-failure", { count: "900" }, 1, true],
  ["on-failure:2", {}, 1, true],
  ["on-failure:2", { count: "1" }, 1, true],
  ["on-failure:2", { count: "2" }, 1, false],
  ["unless-stopped", {}, 0, true],
  ["unless-stopped", { explicitlyStopped: "false" }, 0, true],
  ["unless-stopped", { explicitlyStopped: "true" }, 1, false],
  ["unless-stopped", { explicitlyStopped: "1" }, 1, false],
  ["always", { explicitlyStopped: "true", count: "x" }, 1, true],
] as const)("policy %j with %j, ended with %j: %j", (policy, further, exitStatus, expected) => {
  const labels = new Map([[RestartLabel.policy as string, policy as string]]);
  // Object.entries widens the keys, which are those of the object above.
  for (const [key, value] of Object.entries(further)) labels.set(RestartLabel[key as keyof typeof RestartLabel], value);
  expect(wantsRestart(labels, exitStatus)).toBe(expected);
});

it("a count that is none is refused where it matters", () => {
  const labels = new Map([
    [RestartLabel.policy as string, "on-failure"],
    [RestartLabel.count as string, "many"],
  ]);
  expect(() => wantsRestart(labels, 1)).toThrow(expect.objectContaining({ code: 3 }));
});
