import { codeOf } from "@berth/errors";
import { expect } from "vitest";

/** This asserts that a promise rejects with a code. */
export async function expectCode(promise: Promise<unknown>, code: number): Promise<void> {
  const outcome = await promise.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
  if (!("error" in outcome)) expect.fail(`resolved with ${JSON.stringify(outcome.value)}, expected code ${code}`);
  expect(codeOf(outcome.error), String(outcome.error)).toBe(code);
}
