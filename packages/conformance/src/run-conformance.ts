/** One rule of a contract: a name that states it and a body that throws when a subject breaks it. */
export interface ConformanceCase<T> {
  readonly name: string;
  run(subject: T): Promise<void>;
}

/** The part of vitest that {@link runConformance} uses. */
export interface TestRunner {
  describe(name: string, body: () => void): void;
  it(name: string, body: () => Promise<void>): void;
}

/**
 * This registers a suite for one implementation. Each case gets a fresh subject from `open`, disposed afterwards.
 *
 * ```ts
 * runConformance(vitest, "local content store", contentCases, openSubject);
 * ```
 */
export function runConformance<T extends AsyncDisposable>(
  runner: TestRunner,
  name: string,
  cases: readonly ConformanceCase<T>[],
  open: () => Promise<T>,
): void {
  runner.describe(name, () => {
    for (const { name: rule, run } of cases) {
      runner.it(rule, async () => {
        await using subject = await open();
        await run(subject);
      });
    }
  });
}
