import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { runProgram, temporaryDirectory } from "@berth/testing";
import { expect, it } from "vitest";

const root = join(import.meta.dirname, "..", "..");

const FLAKY = `let tries = 0;
it("is right at once", () => {});
it("is right at last", () => {
  tries += 1;
  if (tries === 1) throw new Error("not yet");
});
it("is never right", () => {
  throw new Error("never");
});
`;

it("findSecondTries: names the tests that vitest's retry saved, and no others", { timeout: 60_000 }, async () => {
  await using directory = await temporaryDirectory("flaky");
  await writeFile(join(directory.path, "flaky.test.js"), FLAKY);
  const report = join(directory.path, "report.json");
  const vitest = join(root, "node_modules", "vitest", "vitest.mjs");
  const args = ["run", "--root", directory.path, "--globals", "--retry=1", "--reporter=json", `--outputFile=${report}`];
  expect((await runProgram(process.execPath, [vitest, ...args])).code).toBe(1);
  const lister = join(root, "tooling", "lib", "second-tries.mjs");
  const script = `import { findSecondTries } from ${JSON.stringify(lister)};
console.log(JSON.stringify(findSecondTries(${await readFile(report, "utf8")}.testResults)));`;
  const { stdout, stderr } = await runProgram(process.execPath, ["--input-type=module", "-e", script]);
  expect(stderr).toBe("");
  expect(JSON.parse(stdout)).toEqual([expect.stringMatching(/flaky\.test\.js: is right at last: Error: not yet$/)]);
});
