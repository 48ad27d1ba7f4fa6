import type { ProgramOptions } from "@berth/testing";
import { runProgram } from "@berth/testing";

/** This runs a program and returns its output. @throws Error - it failed; the message has its last words */
export async function mustRun(path: string, args: readonly string[], options?: ProgramOptions): Promise<string> {
  const { code, stdout, stderr } = await runProgram(path, args, options);
  if (code !== 0)
    throw new Error(`${[path, ...args].join(" ")} ended with ${code}: ${(stderr || stdout).slice(-2000)}`);
  return stdout;
}
