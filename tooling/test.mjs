// npm test: fetches what is missing, checks, and runs every test. Needs root, Node 20 or later, npm and apt; nothing else.
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";

import { debianPath, debianRoot, ensureTestPackages } from "./lib/debian.mjs";
import { installDependencies } from "./lib/dependencies.mjs";
import { pinnedNode, root } from "./lib/paths.mjs";
import { attempt, run, step } from "./lib/run.mjs";
import { findSecondTries } from "./lib/second-tries.mjs";

if (process.getuid?.() !== 0) {
  console.error("npm test needs root: the tests mount file systems and run containers. Try: sudo npm test");
  process.exitCode = 1;
} else {
  await main(process.argv.slice(2));
}

async function main(filters) {
  await step("Dependencies", installDependencies);
  await step("Debian packages to test against", ensureTestPackages);
  const { runChecks } = await import("./check.mjs");
  const checks = filters.length > 0 ? { passed: 0, failed: 0 } : await runChecks();
  if (filters.length > 0) await step("Bundles", () => run(pinnedNode(), ["tooling/bundle.mjs"]));
  const tests = await runTests(filters);
  const { secondTries } = tests;
  if (secondTries.length > 0)
    console.log([`${secondTries.length} passed only at the second try:`, ...secondTries].join("\n  "));
  // The last line is the sum, for whoever reads it by program.
  console.log(
    `${checks.passed + tests.passed} passed, ${checks.failed + tests.failed} failed, ${tests.skipped} skipped`,
  );
  process.exitCode = checks.failed + tests.failed > 0 || tests.code !== 0 ? 1 : 0;
}

async function runTests(filters) {
  const directory = await mkdtemp(join(tmpdir(), "berth-test-"));
  const report = join(directory, "report.json");
  const vitest = join(root, "node_modules", "vitest", "vitest.mjs");
  const env = {
    ...process.env,
    PATH: [dirname(pinnedNode()), ...debianPath, process.env.PATH].join(delimiter),
    BERTH_DEBIAN_ROOT: debianRoot,
    BERTH_NO_BUILD: "1",
  };
  try {
    const args = [vitest, "run", "--reporter=default", "--reporter=json", `--outputFile.json=${report}`, ...filters];
    const { code } = await attempt(pinnedNode(), args, { show: true, env });
    const { numPassedTests, numFailedTests, numPendingTests, numTodoTests, testResults } = JSON.parse(
      await readFile(report, "utf8"),
    );
    // A file that cannot be loaded has no tests to count.
    const broken = testResults.filter(
      ({ status, assertionResults }) => status === "failed" && assertionResults.length === 0,
    ).length;
    return {
      code,
      passed: numPassedTests,
      failed: numFailedTests + broken,
      skipped: numPendingTests + numTodoTests,
      secondTries: findSecondTries(testResults),
    };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
