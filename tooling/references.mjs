// Writes each workspace's tsconfig.json and the root one from the dependencies in package.json.
// With --check it writes nothing and fails when a file would change.
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dirname, "..");
const check = process.argv.includes("--check");
const folders = ["packages", "apps"].flatMap((parent) =>
  readdirSync(join(root, parent))
    .filter((name) => existsSync(join(root, parent, name, "package.json")))
    .map((name) => `${parent}/${name}`),
);
const manifests = new Map(folders.map((folder) => [folder, readJson(join(root, folder, "package.json"))]));
const folderOf = new Map([...manifests].map(([folder, manifest]) => [manifest.name, folder]));
const stale = [];

for (const [folder, manifest] of manifests) {
  const references = Object.keys(manifest.dependencies ?? {})
    .filter((name) => folderOf.has(name))
    .map((name) => ({ path: `../../${folderOf.get(name)}` }));
  put(join(root, folder, "tsconfig.json"), {
    extends: "../../tooling/tsconfig.base.json",
    compilerOptions: { composite: true, rootDir: "src", outDir: "dist", tsBuildInfoFile: "dist/.tsbuildinfo" },
    include: ["src"],
    exclude: ["src/**/*.test.ts"],
    references,
  });
}
put(join(root, "tsconfig.json"), { files: [], references: folders.map((folder) => ({ path: folder })) });

if (stale.length > 0) {
  console.error(`stale, run "pnpm generate":\n  ${stale.join("\n  ")}`);
  process.exitCode = 1;
}

function put(path, value) {
  const text = `${JSON.stringify(value, null, 2)}\n`;
  if (existsSync(path) && readFileSync(path, "utf8") === text) return;
  if (check) stale.push(path);
  else writeFileSync(path, text);
}

function readJson(path) {
  return JSON.parse(readFileSync(path, "utf8"));
}
