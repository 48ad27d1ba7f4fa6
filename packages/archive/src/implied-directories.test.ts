import { posix } from "node:path";

import { codeName, codeOf } from "@berth/errors";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { type DirectoryBudgets, directoryHeaders, ImpliedDirectories } from "./implied-directories.ts";
import { readTar } from "./read-tar.ts";
import { createTarReader } from "./tar-reader.ts";
import { formatTarHeader, type TarEntryInput } from "./tar-writer.ts";

function impliedBy(entries: readonly TarEntryInput[], budgets: Partial<DirectoryBudgets> = {}): string[] {
  const implied = new ImpliedDirectories(budgets);
  const reader = createTarReader(implied);
  for (const entry of entries) reader.write(formatTarHeader(entry));
  reader.end();
  return Array.from(implied.paths(), (path) => Buffer.from(path).toString("latin1"));
}

const file = (path: string | Uint8Array): TarEntryInput => ({ path, type: "file" });
const directory = (path: string): TarEntryInput => ({ path, type: "directory" });

describe("ImpliedDirectories", () => {
  it.each<readonly [string, readonly TarEntryInput[], readonly string[]]>([
    ["those above a file", [file("a/b/c")], ["a", "a/b"]],
    ["none at the root", [file("a"), file("./b"), file("/c")], []],
    ["not what is described, before or after", [directory("a/"), file("a/x"), file("b/x"), directory("./b")], []],
    ["what is above a directory", [directory("a/b/")], ["a"]],
    ["what .. goes up from, and not above the root", [file("../../a/../b/x")], ["a", "b"]],
    ["what a link or a device is in", [{ path: "a/l", type: "symlink", linkPath: "b/c" }], ["a"]],
    ["a directory that is a file elsewhere", [file("a"), file("a/x")], ["a"]],
    ["names that are not UTF-8, byte for byte", [file(Buffer.from([0xff, 0x2f, 0x61]))], ["\u00ff"]],
  ])("finds %s", (_, entries, expected) => {
    expect(impliedBy(entries)).toEqual(expected);
  });

  it("finds just the ancestors that have no entry, each before what is in it", () => {
    const path = fc
      .array(fc.constantFrom("a", "b", "é"), { minLength: 1, maxLength: 4 })
      .map((parts) => parts.join("/"));
    const entry = fc.record({ path, type: fc.constantFrom("file" as const, "directory" as const) });
    fc.assert(
      fc.property(fc.array(entry), (entries) => {
        const expected = new Set<string>();
        for (const each of entries)
          for (let above = posix.dirname(each.path); above !== "."; above = posix.dirname(above)) expected.add(above);
        for (const each of entries) if (each.type === "directory") expected.delete(each.path);
        const found = impliedBy(entries).map((name) => Buffer.from(name, "latin1").toString());
        expect(found.toSorted()).toEqual([...expected].toSorted());
        for (const [at, name] of found.entries()) {
          const parent = found.indexOf(posix.dirname(name));
          expect(parent).toBeLessThan(at);
        }
      }),
    );
  });

  it.each([
    [{ maxDirectories: 2 }, "a/b/x", "ok"],
    [{ maxDirectories: 2 }, "a/b/c/x", "resource_exhausted"],
    [{ maxPathBytes: 4 }, "a/b/x", "ok"],
    [{ maxPathBytes: 4 }, "a/bc/x", "resource_exhausted"],
  ])("%j: %s is %s", (budgets, path, expected) => {
    const find = (): string => {
      try {
        impliedBy([file(path)], budgets);
        return "ok";
      } catch (error) {
        return codeName(codeOf(error));
      }
    };
    expect(find()).toBe(expected);
  });
});

describe("directoryHeaders", () => {
  it("describes the root and the directories, by default as everybody may read them", async () => {
    const paths = [Buffer.from("a"), Buffer.from([0xff])];
    const headers = directoryHeaders(paths, (path) => (path[0] === 0x61 ? { mode: 0o700, uid: 5 } : {}));
    const seen = await Array.fromAsync(readTar(headers), ({ header }) => header);
    expect(seen.map(({ type, mode, uid, mtime }) => [type, mode, uid, mtime.seconds])).toEqual([
      ["directory", 0o755, 0, 0],
      ["directory", 0o700, 5, 0],
      ["directory", 0o755, 0, 0],
    ]);
    expect(seen.map(({ path, rawPath }) => rawPath ?? path)).toEqual(["./", "a/", Uint8Array.of(0xff, 0x2f)]);
  });
});
