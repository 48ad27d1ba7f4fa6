import { mustRun } from "./must-run.ts";

/** This runs a program and returns the milliseconds from before its start to its end. @throws Error - it failed */
export async function timeCommand(
  path: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<number> {
  return (await timed(() => mustRun(path, args, { env, timeoutMs: 300_000 }))).ms;
}

/** This returns what an action gave and the milliseconds that it took. */
export async function timed<T>(action: () => Promise<T>): Promise<{ readonly value: T; readonly ms: number }> {
  const started = performance.now();
  const value = await action();
  return { value, ms: performance.now() - started };
}
