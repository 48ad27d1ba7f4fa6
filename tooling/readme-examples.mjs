// Fails when an example of a README does not compile: node tooling/readme-examples.mjs. Each is a program of its own. What a reader is to
// bring along is declared in an HTML comment before it: <!-- given: declare const signal: AbortSignal; -->
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { pinnedNode, root } from "./lib/paths.mjs";
import { attempt } from "./lib/run.mjs";

const EXAMPLE = /(?:<!-- given:\s(?<given>(?:(?!-->).)*)-->\s*)?^```ts\n(?<code>.*?)^```$/gmsu;
/** Inside of the package, where its imports resolve; removed in the end. */
const FOLDER = "readme-examples";

const CONFIG = {
  extends: "../../../tooling/tsconfig.base.json",
  compilerOptions: { noEmit: true, rootDir: "../../..", noUnusedLocals: false },
  include: ["*.ts"],
};

const readmes = ["packages", "apps"]
  .flatMap((parent) => readdirSync(join(root, parent)).map((name) => join(root, parent, name)))
  .filter((folder) => existsSync(join(folder, "README.md")));
const folders = [];
try {
  for (const folder of readmes) {
    const examples = [...readFileSync(join(folder, "README.md"), "utf8").matchAll(EXAMPLE)];
    if (examples.length === 0) continue;
    folders.push(join(folder, FOLDER));
    await mkdir(join(folder, FOLDER), { recursive: true });
    for (const [index, { groups }] of examples.entries()) {
      await writeFile(
        join(folder, FOLDER, `example-${index + 1}.ts`),
        `${groups.given ?? ""}\n${groups.code}\nexport {};\n`,
      );
    }
    await writeFile(join(folder, FOLDER, "tsconfig.json"), JSON.stringify(CONFIG));
  }
  const problems = [];
  for (const folder of folders) {
    const { code, output } = await attempt(pinnedNode(), [join(root, "node_modules/typescript/bin/tsc"), "-p", folder]);
    if (code !== 0) problems.push(output.trim());
  }
  if (problems.length > 0) {
    console.error(problems.join("\n"));
    process.exitCode = 1;
  }
} finally {
  for (const folder of folders) await rm(folder, { recursive: true, force: true });
}
