import { join } from "node:path";
import { statSync } from "node:fs";

import { create, toBinary } from "@bufbuild/protobuf";
import { OptionsSchema } from "@berth/api/containerd/runc/v1/options";
import { OptionsSchema as GenericOptionsSchema } from "@berth/api/runtimeoptions/v1/options";
import { Code, codeOf } from "@berth/errors";
import { temporaryDirectory } from "@berth/testing";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { parseRuncOptions, readRuncOptions, runcRoot, writeRuncOptions } from "./runtime-options.ts";

const options = create(OptionsSchema, { binaryName: "crun", root: "/r", systemdCgroup: true, ioUid: 7 });

describe("parseRuncOptions", () => {
  it.each(["containerd.runc.v1.Options", "type.googleapis.com/containerd.runc.v1.Options"])("takes %s", (typeUrl) => {
    expect(parseRuncOptions({ typeUrl, value: toBinary(OptionsSchema, options) })).toEqual(options);
  });

  it("takes generic options with a JSON body, and none", () => {
    const configBody = new TextEncoder().encode('{"binary_name":"crun","SomethingElse":1}');
    const value = toBinary(GenericOptionsSchema, create(GenericOptionsSchema, { configBody }));
    expect(parseRuncOptions({ typeUrl: "runtimeoptions.v1.Options", value }).binaryName).toBe("crun");
    expect(parseRuncOptions(undefined)).toEqual(create(OptionsSchema));
  });

  it("refuses the rest with invalid_argument, whatever the bytes", () => {
    const types = fc.constantFrom("containerd.runc.v1.Options", "runtimeoptions.v1.Options", "x.Y");
    fc.assert(
      fc.property(types, fc.uint8Array(), (typeUrl, value) => {
        try {
          parseRuncOptions({ typeUrl, value });
          expect(typeUrl).not.toBe("x.Y");
        } catch (error) {
          expect([Code.InvalidArgument]).toContain(codeOf(error));
        }
      }),
    );
  });
});

it("options kept in a bundle come back as they were, private", async () => {
  await using directory = await temporaryDirectory("options");
  expect(readRuncOptions(directory.path)).toEqual(create(OptionsSchema));
  writeRuncOptions(directory.path, options);
  expect(readRuncOptions(directory.path)).toEqual(options);
  expect(statSync(join(directory.path, "options.json")).mode & 0o777).toBe(0o600);
  expect([runcRoot(options, "ns"), runcRoot(create(OptionsSchema), "ns")]).toEqual(["/r/ns", "/run/berth/runc/ns"]);
});
