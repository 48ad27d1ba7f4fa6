import { closeSync, openSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";

import { expect, it } from "vitest";

import { copySparse, setImmutable } from "../src/files.ts";
import { mountTemporary } from "../src/mount.ts";
import { temporaryDirectory } from "./temporary-directory.ts";
import { errnoName } from "./thrown.ts";

const MIB = 1024 * 1024;

function copy(from: string, to: string, checkpoint?: () => void): void {
  using open = new DisposableStack();
  const source = open.adopt(openSync(from, "r"), closeSync);
  copySparse(source, open.adopt(openSync(to, "wx"), closeSync), checkpoint);
}

it("copySparse copies data where it is, and no hole", async () => {
  await using directory = temporaryDirectory();
  const [from, to] = [join(directory.path, "from"), join(directory.path, "to")];
  const descriptor = openSync(from, "w");
  for (const [at, text] of [
    [3 * MIB, "middle"],
    [70 * MIB, "far"],
  ] as const) {
    writeSync(descriptor, text, at);
  }
  closeSync(descriptor);
  for (const hole of ["behind", "nothing"]) {
    writeFileSync(join(directory.path, hole), "");
    copy(join(directory.path, hole), `${to}-${hole}`);
    expect(statSync(`${to}-${hole}`).size).toBe(0);
  }
  copy(from, to);
  expect(readFileSync(to).equals(readFileSync(from))).toBe(true);
  expect(statSync(to).blocks * 512).toBeLessThan(MIB);
});

it("copySparse copies between file systems of different kinds", async () => {
  await using directory = temporaryDirectory();
  await using other = await mountTemporary([{ type: "tmpfs", source: "tmpfs", options: [] }], {
    directory: directory.path,
  });
  const [from, to] = [join(other.path, "from"), join(directory.path, "to")];
  const descriptor = openSync(from, "w");
  writeSync(descriptor, new Uint8Array(MIB + 5).fill(7), 0, MIB + 5, 2 * MIB + 3);
  closeSync(descriptor);
  copy(from, to);
  expect(readFileSync(to).equals(readFileSync(from))).toBe(true);
  expect(statSync(to).blocks * 512).toBeLessThan(2 * MIB);
});

it("copySparse keeps a hole at the end, and stops at a checkpoint", async () => {
  await using directory = temporaryDirectory();
  const [from, to] = [join(directory.path, "from"), join(directory.path, "to")];
  const descriptor = openSync(from, "w");
  writeSync(descriptor, "begin", 0);
  writeSync(descriptor, "x", 9 * MIB);
  closeSync(descriptor);
  const stop = (): never => {
    throw new Error("stop");
  };
  expect(() => copy(from, to, stop)).toThrow("stop");
  rmSync(to);
  copy(from, to);
  expect(statSync(to).size).toBe(9 * MIB + 1);
});

it("setImmutable keeps a file from changing until it is taken back, and follows no link", async () => {
  await using directory = temporaryDirectory();
  const [file, link] = [join(directory.path, "file"), join(directory.path, "link")];
  writeFileSync(file, "as it is");
  symlinkSync(file, link);
  setImmutable(file, true);
  try {
    expect(errnoName(() => writeFileSync(file, "changed"))).toBe("EPERM");
    expect(errnoName(() => rmSync(file))).toBe("EPERM");
    expect(errnoName(() => setImmutable(link, false))).toBe("ELOOP");
  } finally {
    setImmutable(file, false);
  }
  writeFileSync(file, "changed");
});
