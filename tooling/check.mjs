// All checks that need no running daemon: pnpm check. Each is one line; exit code 1 when any fails.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { pathToFileURL } from "node:url";

import { pinnedNode, root } from "./lib/paths.mjs";
import { attempt } from "./lib/run.mjs";

const CHECKS = {
  "protobuf lint": ["buf", "lint"],
  "generated code": generatedCode,
  "project references": ["node", "tooling/references.mjs", "--check"],
  lint: ["oxlint", "--quiet"],
  format: ["oxfmt", "--check", "packages", "apps", "tooling"],
  types: ["tsc", "-p", "tooling/tsconfig.all.json"],
  boundaries: ["turbo", "boundaries"],
  "source imports": ["node", "tooling/source-imports.mjs"],
  "unused code": ["knip", "--no-progress", "--no-config-hints"],
  "README examples": ["node", "tooling/readme-examples.mjs"],
  "API reference": ["node", "tooling/api-reference.mjs", "--check"],
  "reference of ctr": ["node", "--conditions=@berth/source", "tooling/ctr-reference.mjs", "--check"],
  bundles: ["node", "tooling/bundle.mjs"],
  "shipped dependencies": ["node", "tooling/shipped-dependencies.mjs", "--check"],
};

/** Runs every check and returns how many passed and failed. */
export async function runChecks() {
  let passed = 0;
  let failed = 0;
  for (const [name, check] of Object.entries(CHECKS)) {
    const { code, output } = typeof check === "function" ? await check() : await tool(check[0], check.slice(1));
    if (code === 0) passed += 1;
    else failed += 1;
    console.log(`${code === 0 ? "ok  " : "FAIL"} check: ${name}`);
    if (code !== 0) console.log(output.slice(-6000));
  }
  return { passed, failed };
}

function tool(name, args) {
  const bin = join(root, "node_modules", ".bin");
  const env = {
    ...process.env,
    DO_NOT_TRACK: "1",
    PATH: `${dirname(pinnedNode())}${delimiter}${bin}${delimiter}${process.env.PATH}`,
  };
  return attempt(name === "node" ? pinnedNode() : join(bin, name), args, { env });
}

/** Generates into a temporary folder and compares with what is committed. */
async function generatedCode() {
  const fresh = await mkdtemp(join(tmpdir(), "berth-generate-"));
  try {
    const generated = await tool("buf", ["generate", "--output", fresh]);
    if (generated.code !== 0) return generated;
    const { code, output } = await attempt("diff", [
      "-r",
      join(fresh, "packages/api/src"),
      join(root, "packages/api/src"),
    ]);
    return { code, output: `stale, run "pnpm generate"\n${output}` };
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { failed } = await runChecks();
  process.exitCode = failed > 0 ? 1 : 0;
}
