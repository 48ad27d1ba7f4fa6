import { RuntimeInfoSchema } from "@berth/api/containerd/types/introspection";
import { silentLogger } from "@berth/core/log";
import { create, toBinary } from "@bufbuild/protobuf";
import { expect, it, vi } from "vitest";

import { AllowedMounts } from "./allowed-mounts.ts";

const answer = (status: number, stdout: Uint8Array) => ({ status, stdout, stderr: new Uint8Array(0) });

function info(annotations: Record<string, string>) {
  return answer(0, toBinary(RuntimeInfoSchema, create(RuntimeInfoSchema, { name: "x", annotations })));
}

it.each([
  ["no such annotation", info({ other: "erofs" }), []],
  [
    "types",
    info({ "containerd.io/runtime-allow-mounts": "erofs,format/*, mkdir/* ,," }),
    ["erofs", "format/*", "mkdir/*"],
  ],
  [
    "a shim that does not know the flag",
    answer(1, new TextEncoder().encode("flag provided but not defined: -info")),
    [],
  ],
])("AllowedMounts.of with %s", async (_name, output, expected) => {
  const run = vi.fn(async () => output);
  const allowed = new AllowedMounts(run, silentLogger);
  expect(await allowed.of("/bin/shim")).toEqual(expected);
  expect(await allowed.of("/bin/shim")).toEqual(expected);
  expect(run).toHaveBeenCalledTimes(1);
});

it("AllowedMounts.of asks again when a shim could not be run, or printed something else", async () => {
  const outputs = [
    Promise.reject(new Error("too slow")),
    answer(0, Uint8Array.of(0xff)),
    info({ "containerd.io/runtime-allow-mounts": "a" }),
  ];
  const allowed = new AllowedMounts(async () => (await outputs.shift()) ?? answer(1, new Uint8Array(0)), silentLogger);
  expect(await allowed.of("/bin/shim")).toEqual([]);
  expect(await allowed.of("/bin/shim")).toEqual([]);
  expect(await allowed.of("/bin/shim")).toEqual(["a"]);
});
