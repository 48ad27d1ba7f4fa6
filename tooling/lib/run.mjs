// Runs a program and waits for it. Runs on Node 20.
import { spawn } from "node:child_process";

import { root } from "./paths.mjs";

/**
 * Runs `command` and returns its output; with `show` the output goes to the terminal instead.
 * Throws with the last lines of the output when it fails.
 */
export async function run(command, args, { show = false, cwd = root, env = process.env } = {}) {
  const { code, output } = await attempt(command, args, { show, cwd, env });
  if (code !== 0) throw new Error(`${[command, ...args].join(" ")} ended with ${code}\n${output.slice(-4000)}`);
  return output;
}

/** Runs `command` and returns its exit code and output. */
export async function attempt(command, args, { show = false, cwd = root, env = process.env } = {}) {
  const child = spawn(command, args, { cwd, env, stdio: show ? "inherit" : ["ignore", "pipe", "pipe"] });
  let output = "";
  child.stdout?.on("data", (chunk) => (output += chunk));
  child.stderr?.on("data", (chunk) => (output += chunk));
  const code = await new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (status, signal) => resolve(status ?? signal));
  });
  return { code, output };
}

/** Shows what is being done while it lasts, and how long it took. */
export async function step(title, action) {
  const started = performance.now();
  process.stderr.write(`${title} …`);
  try {
    const result = await action();
    process.stderr.write(` ${((performance.now() - started) / 1000).toFixed(1)} s\n`);
    return result;
  } catch (error) {
    process.stderr.write(" failed\n");
    throw error;
  }
}
