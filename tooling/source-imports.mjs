// Fails when a source file imports what its package.json does not list for those who install it: node tooling/source-imports.mjs.
// Dev dependencies are for tests: where the tag of a package is wide for their sake, this keeps the sources narrow. Types count
// too, as they stand in the declarations that are published.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { isBuiltin } from "node:module";
import { join } from "node:path";

import { root } from "./lib/paths.mjs";

// Statements begin a line, as oxfmt writes them: what is quoted in a comment or in a text does not count.
const STATEMENT = /^(?:import|export)\b(?:[^"';]*\bfrom)?\s*["']([^"']+)["']/gm;
const CALL = /\b(?:import|require|require\.resolve|import\.meta\.resolve)\(\s*["']([^"']+)["']/g;
const COMMENT_LINE = /^\s*(?:\/\/|\/?\*).*$/gm;

const problems = ["packages", "apps"].flatMap((parent) =>
  readdirSync(join(root, parent)).flatMap((name) => check(`${parent}/${name}`)),
);
if (problems.length > 0) {
  console.error(`imports that the package.json does not list under dependencies:\n  ${problems.join("\n  ")}`);
  process.exitCode = 1;
}

function check(folder) {
  const manifest = join(root, folder, "package.json");
  const source = join(root, folder, "src");
  if (!existsSync(manifest) || !existsSync(source)) return [];
  const { name, dependencies, peerDependencies, optionalDependencies } = JSON.parse(readFileSync(manifest, "utf8"));
  const listed = new Set([name, ...Object.keys({ ...dependencies, ...peerDependencies, ...optionalDependencies })]);
  return readdirSync(source, { recursive: true })
    .filter((file) => file.endsWith(".ts") && !file.endsWith(".test.ts"))
    .flatMap((file) =>
      importsOf(readFileSync(join(source, file), "utf8"))
        .filter((path) => !path.startsWith(".") && !isBuiltin(path) && !listed.has(packageOf(path)))
        .map((path) => `${folder}/src/${file}: ${path}`),
    );
}

function importsOf(text) {
  const code = text.replaceAll(COMMENT_LINE, "");
  return [STATEMENT, CALL].flatMap((pattern) => Array.from(code.matchAll(pattern), ([, path]) => path));
}

function packageOf(path) {
  return path.split("/", path.startsWith("@") ? 2 : 1).join("/");
}
