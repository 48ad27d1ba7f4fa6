import { relative } from "node:path";

import { root } from "./paths.mjs";

/**
 * A line for each test in a report of vitest that passed and yet tells of a failure, that of its first try: a fault to look for, which neither
 * the sum nor the exit code shows.
 */
export function findSecondTries(testResults) {
  return testResults.flatMap(({ name, assertionResults }) =>
    assertionResults
      .filter(({ status, failureMessages }) => status === "passed" && failureMessages.length > 0)
      .map(({ fullName, failureMessages: [message] }) => {
        const [reason] = message.split("\n", 1);
        return `${relative(root, name)}: ${fullName}: ${reason}`;
      }),
  );
}
