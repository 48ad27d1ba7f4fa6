// npm run bench [-- name …] [--rounds N]: berth's figures beside those of Debian's containerd, measured alternately. Needs root, Node 20 or later,
// npm and apt. What it measures is in bench/figures; it is not part of the tests.
import { spawn } from "node:child_process";
import { delimiter, dirname, join } from "node:path";

import { debianPath, debianRoot, ensureDebianPackages, PEER_PACKAGES } from "./lib/debian.mjs";
import { installDependencies } from "./lib/dependencies.mjs";
import { pinnedNode, root } from "./lib/paths.mjs";
import { run, step } from "./lib/run.mjs";

/** What makes the image of the figure `import`. */
const IMAGE_PACKAGES = ["debootstrap", "debian-archive-keyring"];

if (process.getuid?.() !== 0) {
  console.error("npm run bench needs root: it mounts file systems and runs containers. Try: sudo npm run bench");
  process.exitCode = 1;
} else {
  await step("Dependencies", installDependencies);
  await step("Debian packages to measure against", () => ensureDebianPackages([...PEER_PACKAGES, ...IMAGE_PACKAGES]));
  await step("Bundles", () => run(pinnedNode(), ["tooling/bundle.mjs"]));
  process.exitCode = await measure(process.argv.slice(2));
}

async function measure(args) {
  const env = {
    ...process.env,
    PATH: [dirname(pinnedNode()), ...debianPath, process.env.PATH].join(delimiter),
    BERTH_DEBIAN_ROOT: debianRoot,
    BERTH_NO_BUILD: "1",
  };
  const main = join(root, "tooling", "bench", "main.ts");
  const options = ["--conditions=@berth/source", "--disable-warning=ExperimentalWarning"];
  // In a session of its own: an interrupt at the terminal must not reach the daemons before their containers are removed.
  const child = spawn(pinnedNode(), [...options, main, ...args], { env, stdio: "inherit", detached: true });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill("SIGTERM"));
  return await new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve(code ?? 1));
  });
}
