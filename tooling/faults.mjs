// npm run test:faults -- --rounds <n> --seed <s> [--only kill|start|power|error|full|shim|histories|tasks]: faults drawn at random, much longer than what npm test samples.
// With --containerd: power cuts under Debian's containerd as it comes, for comparison. Needs root, Node 20 or later, npm and apt, as the tests do. The last line is "<n> passed, <n> failed".
import { join } from "node:path";

import { debianRoot, ensureTestPackages } from "./lib/debian.mjs";
import { installDependencies } from "./lib/dependencies.mjs";
import { pinnedNode, root } from "./lib/paths.mjs";
import { attempt, run, step } from "./lib/run.mjs";

if (process.getuid?.() !== 0) {
  console.error(
    "npm run test:faults needs root: it mounts file systems and cuts their power. Try: sudo npm run test:faults",
  );
  process.exitCode = 1;
} else {
  await step("Dependencies", installDependencies);
  await step("Debian packages to test against", ensureTestPackages);
  await step("Bundles", () => run(pinnedNode(), ["tooling/bundle.mjs", "daemon", "shim"]));
  const args = process.argv.slice(2);
  const name = args.includes("--containerd") ? "containerd-power-cut.ts" : "run-faults.ts";
  // the faults of shims and tasks have nothing to do with those of stores: programs of their own draw them
  const only = args.includes("--only") ? args[args.indexOf("--only") + 1] : "";
  const apart = {
    shim: "apps/shim/test/run-cycles.ts",
    histories: "packages/runtime/test/run-histories.ts",
    tasks: "apps/daemon/test/cycles/run-task-cycles.ts",
  };
  const program = join(root, apart[only] ?? `apps/daemon/test/faults/${name}`);
  const { code } = await attempt(pinnedNode(), ["--conditions=@berth/source", program, ...args], {
    show: true,
    env: { ...process.env, BERTH_DEBIAN_ROOT: debianRoot, BERTH_NO_BUILD: "1" },
  });
  process.exitCode = typeof code === "number" ? code : 1;
}
