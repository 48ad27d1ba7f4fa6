// Bundles the three programs, each from its app: node tooling/bundle.mjs [daemon|ctr|shim …].
// A process start is paid on every command, and one file loads several times faster than hundreds.
import { existsSync } from "node:fs";
import { mkdir, readdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { build } from "esbuild";

import { root } from "./lib/paths.mjs";

/** Files that run on their own: the program, and workers that it starts beside itself. */
const ENTRIES = {
  daemon: { berthd: "apps/daemon/src/main.ts" },
  ctr: { ctr: "apps/ctr/src/main.ts" },
  shim: { "containerd-shim-berth-v2": "apps/shim/src/main.ts" },
};

/** Modules beside each other: what a worker or a rare call needs is loaded when it is needed. */
const AS_MODULES = {
  format: "esm",
  splitting: true,
  outExtension: { ".js": ".mjs" },
  banner: {
    // CommonJS dependencies ask for Node's own modules through require.
    js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
  },
};

/** One CommonJS file: a command lives for milliseconds, and 20 modules cost 10 of them. */
const AS_ONE_FILE = {
  format: "cjs",
  outExtension: { ".js": ".cjs" },
  define: { "import.meta.url": "__fileUrl" },
  banner: { js: 'const __fileUrl = "file://" + encodeURI(__filename);' },
};

const wanted = process.argv.slice(2);
for (const app of wanted.length > 0 ? wanted : Object.keys(ENTRIES)) await bundle(app);

async function bundle(app) {
  const output = join(root, "apps", app, "dist", "bundle");
  const temporary = `${output}.${process.pid}`;
  const entryPoints = { ...ENTRIES[app], ...(await workers(app)) };
  await build({
    entryPoints: Object.fromEntries(Object.entries(entryPoints).map(([name, file]) => [name, join(root, file)])),
    outdir: temporary,
    bundle: true,
    ...(app === "ctr" ? AS_ONE_FILE : AS_MODULES),
    platform: "node",
    target: "node24",
    conditions: ["@berth/source"],
    // Native modules find their binaries beside their own files.
    external: ["koffi", "lmdb"],
    sourcemap: "linked",
    // Line breaks and names stay, for stack traces that can be read without the map.
    minifySyntax: true,
    legalComments: "none",
    metafile: true,
    logLevel: "warning",
  }).then(({ metafile }) => writeFile(join(temporary, "meta.json"), JSON.stringify(metafile)));
  await mkdir(join(output, ".."), { recursive: true });
  await rm(`${output}.old`, { recursive: true, force: true });
  if (existsSync(output)) await rename(output, `${output}.old`);
  await rename(temporary, output);
  await rm(`${output}.old`, { recursive: true, force: true });
}

/** Workers by the name under which `new URL("./<name>.ts", import.meta.url)` finds them beside the bundle. */
async function workers(app) {
  if (app !== "daemon") return {};
  const found = {};
  for (const name of await readdir(join(root, "packages"))) {
    const source = join(root, "packages", name, "src");
    if (!existsSync(source)) continue;
    for (const file of await readdir(source)) {
      if (file.endsWith("-worker.ts")) found[file.slice(0, -3)] = `packages/${name}/src/${file}`;
    }
  }
  return found;
}
