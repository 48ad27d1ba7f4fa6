import { debianLibraries, debianTool, runProgram } from "@berth/testing";

/** This runs skopeo, a client of registries that is not ours and not containerd's, without asking for signatures, and returns its output. @throws Error - it failed */
export async function skopeo(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await runProgram(debianTool("skopeo"), ["--insecure-policy", ...args], {
    timeoutMs: 60_000,
    env: { LD_LIBRARY_PATH: debianLibraries() },
  });
  if (code !== 0) throw new Error(`skopeo: ${stderr}`);
  return stdout;
}
