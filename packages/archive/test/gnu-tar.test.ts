import { execFileSync } from "node:child_process";
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { readTar, type TarHeader, writeTar } from "@berth/archive";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const long = `${"deep/".repeat(30)}${"n".repeat(120)}`;
const sparseSize = 4_000_000;
let directory: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "berth-archive-"));
  const root = join(directory, "root");
  mkdirSync(join(root, "deep/".repeat(30)), { recursive: true });
  writeFileSync(join(root, long), "long name");
  symlinkSync("t".repeat(150), join(root, "symlink"));
  writeFileSync(join(root, "plain"), "plain content");
  utimesSync(join(root, "plain"), 1.5, 1_234_567.25);
  const fd = openSync(join(root, "sparse"), "w");
  // more runs than the 4 of a header and the 21 of one extension block
  for (let i = 0; i < 60; i++) writeSync(fd, `segment ${i}`, i * 65_536);
  writeSync(fd, "\0", sparseSize - 1);
  closeSync(fd);
});

afterAll(() => rmSync(directory, { recursive: true, force: true }));

async function readAll(file: string): Promise<Map<string, { header: TarHeader; content: Buffer }>> {
  const entries = new Map<string, { header: TarHeader; content: Buffer }>();
  for await (const { header, content } of readTar([readFileSync(file)])) {
    entries.set(header.path, { header, content: Buffer.concat(await Array.fromAsync(content)) });
  }
  return entries;
}

describe("readTar of GNU tar's archives", () => {
  it.each([
    ["gnu", ["--format=gnu"]],
    ["gnu, sparse", ["--format=gnu", "-S"]],
    ["pax", ["--format=posix"]],
    ["pax, sparse 0.0", ["--format=posix", "-S", "--sparse-version=0.0"]],
    ["pax, sparse 0.1", ["--format=posix", "-S", "--sparse-version=0.1"]],
    ["pax, sparse 1.0", ["--format=posix", "-S", "--sparse-version=1.0"]],
  ])("%s", async (_, flags) => {
    const file = join(directory, "archive.tar");
    execFileSync("tar", ["-C", join(directory, "root"), ...flags, "-cf", file, long, "symlink", "plain", "sparse"]);
    const entries = await readAll(file);
    expect([...entries.keys()]).toEqual([long, "symlink", "plain", "sparse"]);
    expect(entries.get(long)?.content.toString()).toBe("long name");
    expect(entries.get("symlink")?.header).toMatchObject({ type: "symlink", linkPath: "t".repeat(150) });
    const exact = flags[0] === "--format=posix";
    expect(entries.get("plain")?.header.mtime).toEqual({ seconds: 1_234_567, nanoseconds: exact ? 250_000_000 : 0 });
    const sparse = entries.get("sparse");
    expect(sparse?.header).toMatchObject({ type: "file", size: sparseSize, sparse: flags.includes("-S") });
    expect(sparse?.content.equals(readFileSync(join(directory, "root", "sparse")))).toBe(true);
  });

  it("v7 and ustar", async () => {
    for (const format of ["v7", "ustar"]) {
      const file = join(directory, "archive.tar");
      execFileSync("tar", [
        "-C",
        join(directory, "root"),
        `--format=${format}`,
        "-cf",
        file,
        "plain",
        "--no-recursion",
        "deep/deep",
      ]);
      const entries = await readAll(file);
      expect(entries.get("plain")?.content.toString()).toBe("plain content");
      expect(entries.get("deep/deep/")?.header.type).toBe("directory");
    }
  });
});

describe("writeTar", () => {
  it("writes what GNU tar lists without complaint", async () => {
    const file = join(directory, "written.tar");
    const chunks = await Array.fromAsync(
      writeTar([
        { path: "a/", type: "directory", mode: 0o1755, uid: 3_000_000 },
        { path: long, type: "file", content: Buffer.from("x".repeat(700)), mtime: { seconds: 1, nanoseconds: 5 } },
        { path: "grüße", type: "symlink", linkPath: "über/all" },
        { path: "dev", type: "char", deviceMajor: 10, deviceMinor: 229 },
      ]),
    );
    writeFileSync(file, Buffer.concat(chunks));
    const listed = execFileSync("tar", ["--numeric-owner", "--quoting-style=literal", "-tvf", file])
      .toString()
      .split("\n");
    expect(listed.map((line) => line.replaceAll(/ +/g, " "))).toEqual([
      expect.stringMatching(/^drwxr-xr-t 3000000\/0 0 1970-01-01 .* a\/$/),
      expect.stringMatching(new RegExp(`^-rw-r--r-- 0/0 700 .* ${long}$`)),
      expect.stringMatching(/^lrw-r--r-- 0\/0 0 .* grüße -> über\/all$/),
      expect.stringMatching(/^crw-r--r-- 0\/0 10,229 .* dev$/),
      "",
    ]);
  });
});
