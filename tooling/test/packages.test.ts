import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { runProgram, temporaryDirectory } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly description?: string;
  readonly license?: string;
  readonly exports?: Readonly<Record<string, unknown>>;
}

/** Packages with native parts, and the only berth packages that may bring them. */
const NATIVE: Readonly<Record<string, readonly string[]>> = {
  koffi: [
    "linux",
    "database",
    "content",
    "metadata",
    "mounts",
    "snapshotters",
    "diff",
    "runtime",
    "shim-runtime",
    "runc",
    "nri",
  ],
  lmdb: ["database", "metadata", "mounts", "snapshotters"],
};

const root = join(import.meta.dirname, "..", "..");
const names = (await readdir(join(root, "packages"))).sort();
const manifests = new Map(
  await Promise.all(
    names.map(async (name): Promise<[string, Manifest]> => [
      name,
      // Our own manifests; what the test relies on is asserted below.
      JSON.parse(await readFile(join(root, "packages", name, "package.json"), "utf8")) as Manifest,
    ]),
  ),
);

/** The pnpm of this checkout, which packs the way the release does. */
async function pnpm(args: readonly string[], cwd: string): Promise<string> {
  const { devEngines } = JSON.parse(await readFile(join(root, "package.json"), "utf8"));
  const result = await runProgram("npx", ["-y", `pnpm@${devEngines.packageManager.version}`, ...args], {
    cwd,
    timeoutMs: 300_000,
  });
  if (result.code !== 0) throw new Error(`pnpm ${args.join(" ")}: ${result.stdout}${result.stderr}`);
  return result.stdout;
}

describe("each package, packed and installed alone", () => {
  const stack = new AsyncDisposableStack();
  let directory: string;

  beforeAll(async () => {
    directory = stack.use(await temporaryDirectory("pack")).path;
    const built = await runProgram(join(root, "node_modules/.bin/tsc"), ["-b"], { cwd: root, timeoutMs: 300_000 });
    expect(built.stdout).toBe("");
    for (const name of names) await pnpm(["pack", "--pack-destination", directory], join(root, "packages", name));
  }, 600_000);

  afterAll(() => stack.disposeAsync());

  const tarball = (name: string): string =>
    `file:${join(directory, `berth-${name}-${manifests.get(name)?.version}.tgz`)}`;

  it.each(names)("%s", { timeout: 120_000 }, async (name) => {
    const manifest = manifests.get(name);
    expect(manifest).toMatchObject({ license: "Apache-2.0", description: expect.stringMatching(/.{20}/) });
    await expectPublishable(tarball(name).slice("file:".length));
    const folder = join(directory, `alone-${name}`);
    await mkdir(folder, { recursive: true });
    const overrides = Object.fromEntries(names.map((other) => [`@berth/${other}`, tarball(other)]));
    await writeFile(
      join(folder, "package.json"),
      JSON.stringify({ private: true, type: "module", dependencies: { [`@berth/${name}`]: tarball(name) } }),
    );
    const settings = [
      "packages: []",
      `overrides: ${JSON.stringify(overrides)}`,
      "strictDepBuilds: false",
      `allowBuilds: ${JSON.stringify({ koffi: false, lmdb: false, "msgpackr-extract": false, protobufjs: false, esbuild: false })}`,
    ];
    await writeFile(join(folder, "pnpm-workspace.yaml"), `${settings.join("\n")}\n`);
    await pnpm(["install", "--prefer-offline", "--ignore-scripts"], folder);
    const installed = await readdir(join(folder, "node_modules", ".pnpm"));
    for (const [native, owners] of Object.entries(NATIVE)) {
      const found = installed.some((entry) => entry.startsWith(`${native}@`));
      if (!owners.includes(name)) expect(found, `${native} came with @berth/${name}`).toBe(false);
    }
    expect(existsSync(join(folder, "node_modules", "@berth", name, "README.md"))).toBe(true);
    const doors = await doorsOf(join(folder, "node_modules", "@berth", name), name);
    expect(doors.length).toBeGreaterThan(0);
    const script = `for (const door of ${JSON.stringify(doors)}) { const m = await import(door); if (Object.keys(m).length === 0 && !door.endsWith("/plugin-type")) console.log("(types only)", door); }`;
    const imported = await runProgram(process.execPath, ["--input-type=module", "-e", script], {
      cwd: folder,
      env: { NODE_OPTIONS: "" },
    });
    expect(imported.stderr).toBe("");
    expect(imported.code).toBe(0);
  });
});

/** What publint and "are the types wrong" say of a tarball; packages are ECMAScript modules only. */
async function expectPublishable(file: string): Promise<void> {
  const bin = join(root, "node_modules", ".bin");
  for (const [tool, ...args] of [
    ["publint", "run", "--strict"],
    ["attw", "--profile", "esm-only", "--format", "ascii"],
  ] as const) {
    const { code, stdout, stderr } = await runProgram(join(bin, tool), [...args, file], { timeoutMs: 60_000 });
    expect(code, stdout + stderr).toBe(0);
  }
}

/** The doors of an installed package; a pattern stands for every file that it matches. */
async function doorsOf(folder: string, name: string): Promise<string[]> {
  // Written by our own pack; only the keys of exports are read.
  const { exports = {} } = JSON.parse(await readFile(join(folder, "package.json"), "utf8")) as Manifest;
  const doors = Object.keys(exports).filter((door) => !door.includes("*"));
  if (Object.hasOwn(exports, "./*")) {
    const files = await readdir(join(folder, "dist"), { recursive: true });
    doors.push(
      ...files.filter((file) => file.endsWith("_pb.js")).map((file) => `./${file.slice(0, -"_pb.js".length)}`),
    );
  }
  return doors.map((door) => `@berth/${name}${door.slice(1)}`);
}
