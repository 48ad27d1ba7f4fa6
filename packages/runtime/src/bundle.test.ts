import { mkdir, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { parseNamespace } from "@berth/core/namespaces";
import { codeName, codeOf } from "@berth/errors";
import { mountAll } from "@berth/linux/mount";
import { temporaryDirectory } from "@berth/testing";
import { expect, it } from "vitest";

import { Bundle } from "./bundle.ts";

const spec = (json: string) => ({ typeUrl: "spec", value: new TextEncoder().encode(json) });

async function setUp() {
  const directory = await temporaryDirectory("bundle");
  const roots = { stateDir: join(directory.path, "state"), rootDir: join(directory.path, "root") };
  const name = { namespace: parseNamespace("n"), id: "c1" };
  return { ...roots, roots, name, [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose]() };
}

const mode = async (path: string) => (await stat(path)).mode & 0o777;

it("Bundle.create keeps the spec's bytes and makes containerd's modes", async () => {
  await using test = await setUp();
  const bundle = await Bundle.create(test.roots, test.name, spec('{ "a":  1 }'));
  expect(await readFile(join(bundle.path, "config.json"), "utf8")).toBe('{ "a":  1 }');
  expect(await mode(bundle.path)).toBe(0o700);
  expect(await mode(join(bundle.path, "rootfs"))).toBe(0o711);
  expect(await mode(bundle.workPath)).toBe(0o711);
});

it("Bundle.create opens the bundle to the mapped root of a user namespace", async () => {
  await using test = await setUp();
  const mappings = [{ containerID: 0, hostID: 12345, size: 65536 }];
  const bundle = await Bundle.create(test.roots, test.name, spec(JSON.stringify({ linux: { gidMappings: mappings } })));
  expect(await mode(bundle.path)).toBe(0o710);
  expect((await stat(bundle.path)).gid).toBe(12345);
});

it("Bundle.create wipes an old work directory and refuses a second bundle without touching the first", async () => {
  await using test = await setUp();
  await mkdir(join(test.rootDir, "n", "c1", "old"), { recursive: true });
  const bundle = await Bundle.create(test.roots, test.name, spec("{}"));
  expect(await readdir(bundle.workPath)).toEqual([]);
  const error: unknown = await Bundle.create(test.roots, test.name, spec("{}")).catch((thrown: unknown) => thrown);
  expect(codeName(codeOf(error))).toBe("already_exists");
  expect(await readdir(bundle.path)).toContain("config.json");
});

it("Bundle.delete unmounts, removes both directories, and is safe to repeat", async () => {
  await using test = await setUp();
  const bundle = await Bundle.create(test.roots, test.name, spec("{}"));
  await mountAll([{ type: "tmpfs", source: "tmpfs", target: "", options: [] }], join(bundle.path, "rootfs"));
  await writeFile(join(bundle.path, "rootfs", "file"), "");
  await bundle.delete();
  await bundle.delete();
  expect(await readdir(join(test.stateDir, "n"))).toEqual([]);
  expect(await readdir(join(test.rootDir, "n"))).toEqual([]);
});

it("Bundle.delete takes away what an earlier one left half removed", async () => {
  await using test = await setUp();
  const left = [join(test.stateDir, "n", ".c1", "exits"), join(test.rootDir, "n", ".c1", "old")];
  for (const path of left) await mkdir(path, { recursive: true });
  const bundle = await Bundle.create(test.roots, test.name, spec("{}"));
  await writeFile(join(bundle.workPath, "file"), "");
  await bundle.delete();
  expect(await readdir(join(test.stateDir, "n"))).toEqual([]);
  expect(await readdir(join(test.rootDir, "n"))).toEqual([]);
});

it("Bundle.create that fails leaves nothing", async () => {
  await using test = await setUp();
  await mkdir(test.rootDir, { recursive: true });
  await writeFile(join(test.rootDir, "n"), "no directory");
  await expect(Bundle.create(test.roots, test.name, spec("{}"))).rejects.toThrow();
  expect(await readdir(join(test.stateDir, "n"))).toEqual([]);
});

it("Bundle.delete leaves files of a root file system alone, and what a foreign work link leads to", async () => {
  await using test = await setUp();
  const bundle = await Bundle.create(test.roots, test.name, spec("{}"));
  await writeFile(join(bundle.path, "rootfs", "file"), "");
  await expect(bundle.delete()).rejects.toThrow("ENOTEMPTY");
  expect(await readdir(join(bundle.path, "rootfs"))).toEqual(["file"]);
  const other = await Bundle.create(test.roots, { ...test.name, id: "c2" }, spec("{}"));
  await mkdir(join(test.rootDir, "precious"));
  const { unlink } = await import("node:fs/promises");
  await unlink(join(other.path, "work"));
  await symlink(join(test.rootDir, "precious"), join(other.path, "work"));
  await other.delete();
  expect(await readdir(test.rootDir)).toContain("precious");
});

it.each([
  ["bootstrap.json", '{"version":3,"address":"unix:///s","protocol":"ttrpc"}', 3],
  ["address", "unix:///s", 2],
])("Bundle.readEndpoint reads %s", async (file, text, version) => {
  await using test = await setUp();
  const bundle = await Bundle.create(test.roots, test.name, spec("{}"));
  await writeFile(join(bundle.path, file), text);
  expect(await bundle.readEndpoint()).toEqual({ version, address: "unix:///s", protocol: "ttrpc" });
  expect(JSON.parse(await readFile(join(bundle.path, "bootstrap.json"), "utf8"))).toMatchObject({ version });
});
