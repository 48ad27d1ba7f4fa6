import { isInvalidArgument } from "@berth/errors";
import { expect, it } from "vitest";

import { signalNumber } from "./signal-number.ts";

it.each([
  ["9", 9],
  ["KILL", 9],
  ["sigterm", 15],
  ["SIGUSR1", 10],
  ["0", 0],
  ["64", 64],
  ["RTMIN", 34],
  ["RTMIN+3", 37],
  ["SIGRTMAX-1", 63],
])("signalNumber(%j) is %d", (text, expected) => {
  expect(signalNumber(text)).toBe(expected);
});

it.each(["", "NOSUCH", "65", "-1", "9x", "RTMIN-1", "RTMAX+1", "constructor"])(
  "signalNumber(%j) is refused",
  (text) => {
    let thrown: unknown;
    try {
      signalNumber(text);
    } catch (error) {
      thrown = error;
    }
    expect(isInvalidArgument(thrown)).toBe(true);
  },
);
