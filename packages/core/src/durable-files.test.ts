import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { makeDirectoryDurably, renameDurably, writeFileDurably } from "./durable-files.ts";

describe("durable files", () => {
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "berth-durable-"));
  });
  afterAll(() => rm(directory, { recursive: true }));

  it("writeFileDurably replaces a file whole, with the mode given, and leaves nothing beside it", async () => {
    const path = join(directory, "file");
    await writeFile(`${path}.tmp`, "what a crash left, longer than what comes");
    await writeFileDurably(path, "one", 0o600);
    expect(await readFile(path, "utf8")).toBe("one");
    await writeFileDurably(path, "two", 0o600);
    expect(await readFile(path, "utf8")).toBe("two");
    await writeFile(`${path}.tmp`, "");
    await writeFileDurably(path, "three", 0o600);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(await readdir(directory)).toEqual(["file"]);
  });

  it("writeFileDurably leaves nothing when it fails", async () => {
    const path = join(directory, "full");
    await makeDirectoryDurably(path);
    await expect(writeFileDurably(path, "no file can be here")).rejects.toThrow();
    expect((await readdir(directory)).filter((name) => name.endsWith(".tmp"))).toEqual([]);
  });

  it("makeDirectoryDurably makes parents, and renameDurably moves into them", async () => {
    const deep = join(directory, "a", "b", "c");
    await makeDirectoryDurably(deep);
    await makeDirectoryDurably(deep);
    await writeFile(join(directory, "moved"), "x");
    await renameDurably(join(directory, "moved"), join(deep, "moved"));
    expect(await readFile(join(deep, "moved"), "utf8")).toBe("x");
  });
});
