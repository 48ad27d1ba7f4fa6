import { access, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { parseNamespace } from "@berth/core/namespaces";
import { temporaryDirectory } from "@berth/testing";
import fc from "fast-check";
import { expect, it } from "vitest";

import { Bundle } from "./bundle.ts";
import { isInitExitSent, markExitSent, parseExitRecord, readExitRecords } from "./exit-records.ts";

const init = { id: "c1", execId: "", pid: 4711, exitStatus: 137, exitedAt: "2026-01-31T12:00:00.123Z" };

it.each([
  [JSON.stringify(init), { execId: "", pid: 4711, exitStatus: 137, exitedAtNs: 1769860800123000000n }],
  [JSON.stringify({ ...init, more: 1 }), { execId: "", pid: 4711, exitStatus: 137, exitedAtNs: 1769860800123000000n }],
  [JSON.stringify({ ...init, pid: -1 }), undefined],
  [JSON.stringify({ ...init, execId: "/../../x" }), undefined],
  [JSON.stringify({ ...init, exitedAt: "yesterday" }), undefined],
  [JSON.stringify({ ...init, exitStatus: "137" }), undefined],
  ["{", undefined],
  ["null", undefined],
])("parseExitRecord(%j)", (text, expected) => {
  expect(parseExitRecord(text)).toEqual(expected);
});

it("parseExitRecord never throws", () => {
  fc.assert(fc.property(fc.oneof(fc.string(), fc.json()), (text) => void parseExitRecord(text)));
});

it("readExitRecords tells which exits were sent", async () => {
  await using directory = await temporaryDirectory("exits");
  const roots = { stateDir: join(directory.path, "state"), rootDir: join(directory.path, "root") };
  const name = { namespace: parseNamespace("n"), id: "c1" };
  const bundle = await Bundle.create(roots, name, { typeUrl: "spec", value: new TextEncoder().encode("{}") });
  expect(await readExitRecords(bundle)).toEqual([]);
  expect(isInitExitSent(bundle)).toBe(false);
  // Of a shim that leaves no records.
  markExitSent(bundle, "");
  expect(isInitExitSent(bundle)).toBe(true);
  expect(await readExitRecords(bundle)).toEqual([]);
  await writeFile(join(bundle.path, "exits", "init.json"), JSON.stringify(init));
  await writeFile(join(bundle.path, "exits", "exec.e1.json"), JSON.stringify({ ...init, execId: "e1" }));
  await writeFile(join(bundle.path, "exits", "exec.e2.json.tmp"), "{");
  await writeFile(join(bundle.path, "exits", "exec.e3.json"), JSON.stringify({ ...init, execId: "e3" }));
  markExitSent(bundle, "e1");
  // Deleted by its shim before its exit was heard of: thousands of those must not fill the bundle.
  markExitSent(bundle, "gone");
  expect(await readdir(join(bundle.path, "exits"))).not.toContain("exec.gone.sent");
  const records = await readExitRecords(bundle);
  expect(records.map(({ execId, sent }) => [execId, sent]).toSorted()).toEqual([
    ["", true],
    ["e1", true],
    ["e3", false],
  ]);
  await bundle.delete();
  markExitSent(bundle, "");
  await expect(access(bundle.path)).rejects.toThrow("ENOENT");
});
