// Writes apps/*/DEPENDENCIES.txt: every third-party package in the shipped bundle, and which of our files pull it in.
// With --check it writes nothing and fails when a list would change. Run after tooling/bundle.mjs.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { root } from "./lib/paths.mjs";

/** How tooling/bundle.mjs names what it loads late: modules of Node, and packages in files of their own. */
const NODES_OWN = "late:";
const IN_A_FILE_OF_ITS_OWN = /^apart:/;
/** Modules of Node and native ones, of which a program takes what it uses; who wants them is seen where they are wanted. */
const REQUIRED = "required:";
const check = process.argv.includes("--check");
const stale = [];

for (const app of ["daemon", "ctr", "shim"]) {
  const { inputs } = JSON.parse(readFileSync(join(root, "apps", app, "dist", "bundle", "meta.json"), "utf8"));
  const pulledBy = new Map();
  for (const [file, { imports }] of Object.entries(inputs)) {
    if (file.startsWith(REQUIRED)) continue;
    const from = packageOf(file);
    for (const { path, external } of imports) {
      const isRequired = path.startsWith(REQUIRED);
      const name = external || isRequired ? externalName(path.replace(REQUIRED, "")) : packageOf(path);
      if (!name || name === from || name.startsWith("@berth/") || name.startsWith(NODES_OWN)) continue;
      pulledBy.set(name, (pulledBy.get(name) ?? new Set()).add(from));
    }
  }
  // It is loaded by name at the first call, so that the bundler does not see it.
  if (Object.keys(inputs).some((file) => file.startsWith("packages/linux/"))) {
    pulledBy.set("koffi (native)", new Set(["@berth/linux"]));
  }
  const lines = [...pulledBy].map(([name, by]) => `${name}  <  ${[...by].sort().join(", ")}`);
  put(join(root, "apps", app, "DEPENDENCIES.txt"), `${lines.sort().join("\n")}\n`);
}

if (stale.length > 0) {
  console.error(
    `what is shipped has changed; look at it, then run "node tooling/shipped-dependencies.mjs":\n  ${stale.join("\n  ")}`,
  );
  process.exitCode = 1;
}

function packageOf(file) {
  const own = /^(?:packages|apps)\/([^/]+)\//.exec(file);
  if (own) return `@berth/${own[1]}`;
  const parts = file.replace(IN_A_FILE_OF_ITS_OWN, "").split("node_modules/").at(-1).split("/");
  return parts[0].startsWith("@") ? `${parts[0]}/${parts[1]}` : parts[0];
}

/** Native modules are left outside the bundle and shipped beside it; Node's own modules are no dependencies. */
function externalName(path) {
  return path === "lmdb" ? `${path} (native)` : undefined;
}

function put(path, text) {
  if (existsSync(path) && readFileSync(path, "utf8") === text) return;
  if (check) stale.push(path);
  else writeFileSync(path, text);
}
