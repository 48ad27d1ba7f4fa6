// Bundles the three programs, each from its app: node tooling/bundle.mjs [daemon|ctr|shim …].
// A process start is paid on every command, and one file loads several times faster than hundreds.
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, utimes, writeFile } from "node:fs/promises";
import http2 from "node:http2";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { promisify } from "node:util";

import { build } from "esbuild";

import { root } from "./lib/paths.mjs";

/** Files that run on their own: the program, and workers that it starts beside itself. */
const ENTRIES = {
  daemon: { berthd: "apps/daemon/src/main.ts" },
  ctr: { ctr: "apps/ctr/src/main.ts" },
  shim: { "containerd-shim-berth-v2": "apps/shim/src/main.ts" },
};

/**
 * Node's own modules, and lmdb, as what `require` gives. An `import` of one reads every property that it has, also those that are loaded
 * when they are first read: `node:http` brings the whole of `fetch`, `node:fs` and `node:util` 34 further modules each.
 */
const REQUIRED = {
  name: "required",
  setup({ onLoad, onResolve }) {
    onResolve({ filter: /^(node:|lmdb$)/ }, ({ path, kind }) =>
      kind === "require-call" ? { path, external: true } : { path, namespace: "required" },
    );
    onLoad({ filter: /.*/, namespace: "required" }, ({ path }) => {
      const from = path.startsWith("node:") ? `process.getBuiltinModule("${path}")` : `require("${path}")`;
      const names = Object.keys(requireFrom(path)).filter(
        (name) => name !== "default" && /^[a-zA-Z_$][\w$]*$/.test(name),
      );
      const exports = names.map((name) => `export const ${name} = /* @__PURE__ */ (() => whole.${name})();`);
      return { contents: [`const whole = ${from};`, "export default whole;", ...exports].join("\n") };
    });
  },
};

const requireFrom = createRequire(join(root, "packages/database/package.json"));

/** Modules beside each other: what a worker or a rare call needs is loaded when it is needed. */
const AS_MODULES = {
  format: "esm",
  splitting: true,
  outExtension: { ".js": ".mjs" },
  banner: {
    // CommonJS dependencies ask for Node's own modules through require.
    js: 'const require = process.getBuiltinModule("node:module").createRequire(import.meta.url);',
  },
  plugins: [REQUIRED],
};

/** `node:http2` cannot be in a start-up snapshot: it is loaded when something of it is used. */
const LATE_HTTP2 = {
  name: "late-http2",
  setup({ onLoad, onResolve }) {
    onResolve({ filter: /^(node:)?http2$/ }, () => ({ path: "http2", namespace: "late" }));
    onLoad({ filter: /.*/, namespace: "late" }, () => ({
      contents: Object.keys(http2)
        .map(
          (name) =>
            `Object.defineProperty(exports, ${JSON.stringify(name)}, { enumerable: true, get: () => process.getBuiltinModule("node:http2").${name} });`,
        )
        .join("\n"),
    }));
  },
};

/** Large, and needed by few commands: in files of their own, so that the snapshot of all others stays small. By the package that has them. */
const APART = { undici: "remotes", yaml: "oci", zod: "remotes" };

const LATE_PACKAGES = {
  name: "late-packages",
  setup({ onLoad, onResolve }) {
    const names = new RegExp(`^(${Object.keys(APART).join("|")})$`);
    onResolve({ filter: names }, ({ path }) => ({ path, namespace: "apart" }));
    onLoad({ filter: /.*/, namespace: "apart" }, ({ path }) => ({
      // Not the bundle's own require, which in a snapshot knows Node's modules only.
      contents: `module.exports = process.getBuiltinModule("node:module").createRequire(globalThis.__fileUrl)("./${path}.cjs");`,
    }));
  },
};

/** zod brings its messages in fifty languages, half of its text; berth speaks one. */
const ONE_LANGUAGE = {
  name: "one-language",
  setup({ onLoad }) {
    onLoad({ filter: /\/zod\/v4\/locales\/index\.js$/ }, ({ path }) => ({
      contents: 'export { default as en } from "./en.js";',
      resolveDir: dirname(path),
    }));
  },
};

/** One CommonJS file: a command lives for milliseconds, and 20 modules cost 10 of them. */
const AS_ONE_FILE = {
  format: "cjs",
  outExtension: { ".js": ".cjs" },
  define: { "import.meta.url": "globalThis.__fileUrl" },
  banner: { js: 'globalThis.__fileUrl = "file://" + encodeURI(__filename);' },
  plugins: [LATE_HTTP2, LATE_PACKAGES],
};

const wanted = process.argv.slice(2);
for (const app of wanted.length > 0 ? wanted : Object.keys(ENTRIES)) await bundle(app);

async function bundle(app) {
  const output = join(root, "apps", app, "dist", "bundle");
  const temporary = `${output}.${process.pid}`;
  const begin = new Date();
  const form = app === "ctr" ? AS_ONE_FILE : AS_MODULES;
  const extension = form.outExtension[".js"];
  const entryPoints = { ...ENTRIES[app], ...(await workers(app)) };
  const { metafile } = await build({
    entryPoints: Object.fromEntries(Object.entries(entryPoints).map(([name, file]) => [name, join(root, file)])),
    outdir: temporary,
    // What it names paths by, whoever calls this from where: the launcher's list of sources is made of them.
    absWorkingDir: root,
    bundle: true,
    ...form,
    // `Headers` is this one everywhere: the global one costs a process 13 MiB and 20 ms.
    inject: [join(root, "packages/core/src/headers.ts")],
    plugins: [ONE_LANGUAGE, ...(form.plugins ?? [])],
    platform: "node",
    target: "node24",
    conditions: ["@berth/source"],
    // Native modules find their binaries beside their own files.
    external: ["koffi", "lmdb"],
    sourcemap: "linked",
    // A running program holds its whole text. Names stay, and lines are short, for stack traces that can be read without the map.
    minifySyntax: true,
    minifyWhitespace: true,
    lineLimit: 120,
    legalComments: "none",
    metafile: true,
    logLevel: "warning",
  });
  await Promise.all(Object.keys(metafile.outputs).map((file) => checkOneByte(join(root, file))));
  await writeFile(join(temporary, "meta.json"), JSON.stringify(metafile));
  await writeFile(join(temporary, "stale.sh"), staleTest(metafile));
  if (app === "ctr") await bundleApart(temporary);
  if (app === "ctr") await makeSnapshot(join(temporary, "ctr.cjs"), join(temporary, "ctr.blob"));
  // A source that was written while this ran is newer than what was made of it.
  await Promise.all(Object.keys(ENTRIES[app]).map((name) => utimes(join(temporary, name + extension), begin, begin)));
  await mkdir(join(output, ".."), { recursive: true });
  await rm(`${output}.old`, { recursive: true, force: true });
  if (existsSync(output)) await rename(output, `${output}.old`);
  await rename(temporary, output);
  await rm(`${output}.old`, { recursive: true, force: true });
}

/** One character past ASCII, which esbuild leaves in a regular expression, and Node holds the whole file at two bytes a character. */
async function checkOneByte(file) {
  if (file.endsWith(".map")) return;
  const text = await readFile(file, "utf8");
  const found = text.search(/[^\0-\x7F]/);
  if (found !== -1) throw new Error(`${file}: not ASCII, write an escape: …${text.slice(found - 40, found + 1)}`);
}

async function bundleApart(output) {
  for (const [name, owner] of Object.entries(APART)) {
    await build({
      stdin: {
        contents: `module.exports = require(${JSON.stringify(name)});`,
        resolveDir: join(root, "packages", owner),
      },
      outfile: join(output, `${name}.cjs`),
      bundle: true,
      plugins: [ONE_LANGUAGE],
      format: "cjs",
      platform: "node",
      target: "node24",
      minify: true,
      legalComments: "none",
      logLevel: "warning",
    });
  }
}

/** A part of a shell function, for the launcher: whether a source is newer than $bundle, without starting a program. */
function staleTest({ inputs }) {
  const sources = Object.keys(inputs).filter(
    (path) => /^(apps|packages)\/[\w./-]+$/.test(path) && !path.includes("node_modules"),
  );
  const files = ["pnpm-lock.yaml", "tooling/bundle.mjs", ...sources].join(" ");
  return `for source in ${files}; do\n  [ "$root/$source" -nt "$bundle" ] && return 0\ndone\nreturn 1\n`;
}

/** The program's heap as it is after loading, for the Node that runs this and no other: loading it is most of a short command. */
async function makeSnapshot(program, blob) {
  await promisify(execFile)(process.execPath, ["--snapshot-blob", blob, "--build-snapshot", program]);
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
