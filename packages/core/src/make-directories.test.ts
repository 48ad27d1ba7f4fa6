import { chmod, mkdtemp, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { systemErrorCode } from "@berth/errors";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { makeDirectories } from "./make-directories.ts";

describe("makeDirectories", () => {
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "berth-make-"));
  });
  afterAll(() => rm(directory, { recursive: true }));

  it("makes what is missing, with the mode, and says where it began", async () => {
    await chmod(directory, 0o755);
    expect(await makeDirectories(join(directory, "a/b/c/"), 0o710)).toBe(join(directory, "a"));
    for (const name of ["a", "a/b", "a/b/c"]) expect((await stat(join(directory, name))).mode & 0o777).toBe(0o710);
    expect(await makeDirectories(join(directory, "a/b/c"), 0o700)).toBeUndefined();
    expect((await stat(directory)).mode & 0o777).toBe(0o755);
  });

  it("is content with a link to a directory, and makes one directory for calls that meet", async () => {
    await makeDirectories(join(directory, "real"));
    await symlink("real", join(directory, "link"));
    const calls = Array.from({ length: 8 }, () => makeDirectories(join(directory, "link/x/y")));
    await Promise.all(calls);
    expect((await stat(join(directory, "real/x/y"))).isDirectory()).toBe(true);
  });

  it.each([
    ["a file", "file", "EEXIST"],
    ["a file above", "file/x", "ENOTDIR"],
    ["a link to nothing", "nowhere", "EEXIST"],
  ])("fails where there is %s", async (_, name, code) => {
    await writeFile(join(directory, "file"), "");
    await symlink("nothing", join(directory, "nowhere")).catch(() => {});
    expect(await makeDirectories(join(directory, name)).catch(systemErrorCode)).toBe(code);
  });

  it.each(["/proc/nothing", "/proc/nothing/x/y"])("ends where no name can be made: %s", async (path) => {
    expect(await makeDirectories(path).catch(systemErrorCode)).toBe("ENOENT");
  });
});
