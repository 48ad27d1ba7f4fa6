import { RuntimeInfoSchema, RuntimeRequestSchema } from "@berth/api/containerd/types/introspection";
import type { TaskCreateOptions } from "@berth/core/runtime";
import { codeName, codeOf, notFound, unknown } from "@berth/errors";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { expect, it } from "vitest";

import {
  checkMountFeatures,
  createRuntimePluginInfo,
  parseRuntimeInfo,
  type RuntimeInfoSource,
} from "./runtime-info.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const features = (json: string) => ({ typeUrl: "types.containerd.io/Features", value: bytes(json) });

function source(json?: string): RuntimeInfoSource & { asked: unknown[] } {
  const asked: unknown[] = [];
  return {
    asked,
    resolve: async (runtime) => {
      if (runtime === "gone") throw notFound("gone");
      return `/bin/${runtime}`;
    },
    runtimeInfo: async (binary, options) => {
      asked.push({ binary, options: options?.typeUrl });
      if (json === undefined) throw unknown("flag provided but not defined: -info");
      return create(RuntimeInfoSchema, { name: binary, features: features(json) });
    },
  };
}

async function codeThrown(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => "ok",
    (error: unknown) => codeName(codeOf(error)),
  );
}

const request = (runtimePath: string) => ({
  typeUrl: RuntimeRequestSchema.typeName,
  value: toBinary(
    RuntimeRequestSchema,
    create(RuntimeRequestSchema, { runtimePath, options: { typeUrl: "an.Option", value: bytes("x") } }),
  ),
});

it("a question about a runtime goes to its binary, with the options", async () => {
  const asked = source("{}");
  const { typeUrl, value } = await createRuntimePluginInfo(asked)(request("runc"));
  expect(typeUrl).toBe("containerd.types.RuntimeInfo");
  expect(fromBinary(RuntimeInfoSchema, value).name).toBe("/bin/runc");
  expect(asked.asked).toEqual([{ binary: "/bin/runc", options: "an.Option" }]);
});

it.each([
  ["another question", { typeUrl: "an.Other", value: new Uint8Array(0) }, "unimplemented"],
  [
    "bytes that are no request",
    { typeUrl: RuntimeRequestSchema.typeName, value: bytes("\xff\xff") },
    "invalid_argument",
  ],
  ["a runtime that is not there", request("gone"), "not_found"],
])("%s is refused", async (_, question, code) => {
  expect(await codeThrown(createRuntimePluginInfo(source("{}"))(question))).toBe(code);
});

it.each([
  ["a failure", { status: 2, stdout: new Uint8Array(0), stderr: bytes("flag provided") }],
  ["other bytes", { status: 0, stdout: bytes("usage: shim"), stderr: new Uint8Array(0) }],
])("%s is no runtime info", (_, output) => {
  let code = "ok";
  try {
    parseRuntimeInfo("/bin/x", output);
  } catch (error) {
    code = codeName(codeOf(error));
  }
  expect(code).toBe("unknown");
});

const able = '{"linux":{"mountExtensions":{"idmap":{"enabled":true}}}}';
const spec = (mount: object): string => JSON.stringify({ mounts: [{ destination: "/x", ...mount }] });
const mapped = spec({ uidMappings: [{ containerID: 0, hostID: 1000, size: 1 }] });

it.each([
  ["mappings, of a runtime that knows them", mapped, able, "ok"],
  ["mappings, of a runtime that does not", mapped, "{}", "unknown"],
  ["mappings, of a runtime that has them off", mapped, able.replace("true", "false"), "unknown"],
  ["mappings, of a shim that tells nothing", mapped, undefined, "unknown"],
  ["the option alone", spec({ options: ["rbind", "ridmap"] }), "{}", "unknown"],
  ["no mappings", spec({ uidMappings: [], options: ["rbind"] }), undefined, "ok"],
  ["the mappings of a user namespace", '{"linux":{"uidMappings":[{}]},"mounts":[{}]}', undefined, "ok"],
  ["no JSON", "idmap {", undefined, "ok"],
])("mounts with %s", async (_, text, json, code) => {
  const options: TaskCreateOptions = {
    spec: { typeUrl: "s", value: bytes(text) },
    io: { stdin: "", stdout: "", stderr: "", terminal: false },
    rootfs: [],
    checkpoint: "",
    runtime: "runc",
    sandboxId: "",
  };
  expect(await codeThrown(checkMountFeatures(source(json), "/bin/runc", options))).toBe(code);
});
