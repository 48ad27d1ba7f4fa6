// Makes a package that the checks accept: pnpm new <name> --layer <tag> [--description <text>].
// Prints nothing that needs an answer; refuses to touch a folder that exists.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { layer: { type: "string" }, description: { type: "string", default: "" } },
});
const [name] = positionals;
const root = join(import.meta.dirname, "..");
// turbo.json has comments, each on a line of its own.
const rules = JSON.parse(readFileSync(join(root, "turbo.json"), "utf8").replaceAll(/^\s*\/\/.*$/gm, ""));
const layers = Object.keys(rules.boundaries.tags).concat("aside");
if (!name || !/^[a-z][a-z0-9-]*$/.test(name) || !values.layer || !layers.includes(values.layer)) {
  console.error(`usage: pnpm new <name> --layer ${layers.join("|")} [--description <text>]`);
  process.exitCode = 2;
} else {
  create(name, values.layer, values.description);
}

function create(packageName, layer, description) {
  const directory = join(root, "packages", packageName);
  if (existsSync(directory)) throw new Error(`${directory} exists`);
  mkdirSync(join(directory, "src"), { recursive: true });
  const manifest = {
    name: `@berth/${packageName}`,
    version: "0.1.0",
    description,
    license: "Apache-2.0",
    type: "module",
    sideEffects: false,
    engines: { node: ">=24" },
    files: ["dist", "src", "!**/*.test.ts", "!dist/.tsbuildinfo"],
    exports: { ".": door("index") },
    publishConfig: { access: "public" },
  };
  writeJson(join(directory, "package.json"), manifest);
  writeJson(join(directory, "turbo.json"), { extends: ["//"], tags: [layer] });
  writeFileSync(join(directory, "README.md"), `# @berth/${packageName}\n\n${description}\n`);
  const reason = "// oxlint-disable-next-line unicorn/require-module-specifiers -- nothing is exported yet";
  writeFileSync(join(directory, "src/index.ts"), `${reason}\nexport {};\n`);
}

function door(file) {
  return { "@berth/source": `./src/${file}.ts`, types: `./dist/${file}.d.ts`, default: `./dist/${file}.js` };
}

function writeJson(path, value) {
  writeFileSync(path, `${JSON.stringify(value, null, 2)}\n`);
}
