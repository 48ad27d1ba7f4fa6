import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { codeName, codeOf } from "@berth/errors";
import { temporaryDirectory } from "@berth/testing";
import { expect, it } from "vitest";

import { findShimBinary, shimBinaryName, shimSearch } from "./runtime-name.ts";

it.each([
  ["io.containerd.runc.v2", "containerd-shim-runc-v2"],
  ["io.containerd.kata.v2", "containerd-shim-kata-v2"],
  ["runsc.v1", "containerd-shim-runsc-v1"],
])("shimBinaryName(%j) is %j", (name, expected) => {
  expect(shimBinaryName(name)).toBe(expected);
});

it.each(["", "runc", ".runc.v2", "io.containerd.runc.", "a/b.c", "./runc.v2", "io.containerd..v2"])(
  "shimBinaryName refuses %j",
  (name) => {
    let error: unknown;
    try {
      shimBinaryName(name);
    } catch (thrown) {
      error = thrown;
    }
    expect(codeName(codeOf(error))).toBe("invalid_argument");
  },
);

it("findShimBinary takes the first executable file on PATH", async () => {
  await using directory = await temporaryDirectory("runtime-name");
  const [first, second, third] = ["a", "b", "c"].map((name) => join(directory.path, name)) as [string, string, string];
  await mkdir(join(first, "containerd-shim-x-v1"), { recursive: true });
  for (const each of [second, third]) await mkdir(each);
  await writeFile(join(second, "containerd-shim-x-v1"), "", { mode: 0o644 });
  await writeFile(join(third, "containerd-shim-x-v1"), "", { mode: 0o755 });
  const search = shimSearch(`${first}:relative:${second}:${third}`);
  expect(await findShimBinary("some.x.v1", search)).toBe(join(third, "containerd-shim-x-v1"));
  const code = (runtime: string) =>
    findShimBinary(runtime, search).then(
      () => "ok",
      (error: unknown) => codeName(codeOf(error)),
    );
  expect(await code("some.y.v1")).toBe("not_found");
  expect(await code(join(second, "containerd-shim-x-v1"))).toBe("not_found");
  expect(await code(first)).toBe("not_found");
  expect(await code("")).toBe("invalid_argument");
});
