// Installs the workspace's dependencies with the pinned pnpm. Runs on Node 20.
import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { root } from "./paths.mjs";
import { run } from "./run.mjs";

/** Installs exactly what the lockfile says; quick when it is there already. */
export async function installDependencies() {
  const { devEngines } = JSON.parse(await readFile(join(root, "package.json"), "utf8"));
  await run("npx", ["-y", `pnpm@${devEngines.packageManager.version}`, "install", "--frozen-lockfile"]);
}
