import { Code, codeOf } from "@berth/errors";
import { expect, it } from "vitest";

import { processWithTerminal } from "./exec-process.ts";

const run = (text: string, terminal: boolean): string =>
  new TextDecoder().decode(processWithTerminal(new TextEncoder().encode(text), terminal));

it.each([
  [`{"args":["a"]}`, true, `{"args":["a"],"terminal":true}`],
  [`{"terminal":true,"cwd":"/"}`, false, `{"terminal":false,"cwd":"/"}`],
  [`{"rlimits":[{"hard":18446744073709551615}]}`, true, `{"rlimits":[{"hard":18446744073709551615}],"terminal":true}`],
  [`{"__proto__":{"a":1}}`, true, `{"__proto__":{"a":1},"terminal":true}`],
  [`{ "terminal" : true }`, true, `{ "terminal" : true }`],
  [`{ "cwd" : "/" }`, false, `{ "cwd" : "/" }`],
])("processWithTerminal(%j, %j)", (text, terminal, expected) => {
  expect(run(text, terminal)).toBe(expected);
});

it.each(["", "[]", "null", "3", `{"a":`])("processWithTerminal refuses %j", (text) => {
  let thrown: unknown;
  try {
    run(text, true);
  } catch (error) {
    thrown = error;
  }
  expect(codeOf(thrown)).toBe(Code.InvalidArgument);
});
