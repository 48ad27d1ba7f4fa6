import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { BootstrapParamsSchema, BootstrapResultSchema } from "@berth/api/containerd/runtime/bootstrap/v1/bootstrap";
import { OptionsSchema } from "@berth/api/containerd/runc/v1/options";
import { Code, codeOf } from "@berth/errors";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { formatBootstrapAnswer, parseBootstrapInput } from "./bootstrap.ts";

const flags = { id: "c1", namespace: "default" };
const runcOptions = create(AnySchema, {
  typeUrl: "containerd.runc.v1.Options",
  value: toBinary(OptionsSchema, create(OptionsSchema, { shimCgroup: "/x" })),
});
const endpoint = { version: 3, address: "unix:///run/s/x", protocol: "ttrpc" } as const;
const text = (form: "protobuf" | "text", maxVersion?: number): string =>
  new TextDecoder().decode(formatBootstrapAnswer(form, endpoint, maxVersion));

describe("parseBootstrapInput", () => {
  it("takes parameters in protobuf, with the options inside", () => {
    const params = create(BootstrapParamsSchema, {
      instanceId: "c1",
      namespace: "default",
      socketDir: "/run/x",
      extensions: [{ value: runcOptions }],
    });
    const input = parseBootstrapInput(toBinary(BootstrapParamsSchema, params), flags);
    expect(input).toMatchObject({ form: "protobuf", params: { socketDir: "/run/x" }, options: runcOptions });
  });

  it("takes bare options, and nothing", () => {
    expect(parseBootstrapInput(toBinary(AnySchema, runcOptions), flags)).toEqual({
      form: "text",
      options: runcOptions,
    });
    expect(parseBootstrapInput(new Uint8Array(), flags)).toEqual({ form: "text" });
  });

  it.each([
    ["c2", "default"],
    ["c1", "other"],
    ["", ""],
  ])("refuses parameters of another container: %j in %j", (instanceId, namespace) => {
    const bytes = toBinary(
      BootstrapParamsSchema,
      create(BootstrapParamsSchema, { instanceId, namespace, socketDir: "/x" }),
    );
    expect(() => parseBootstrapInput(bytes, flags)).toThrow(/bootstrap API mismatch/);
  });

  it("fails with invalid_argument or not at all, whatever the bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1 }), (bytes) => {
        try {
          parseBootstrapInput(bytes, flags);
        } catch (error) {
          expect(codeOf(error)).toBe(Code.InvalidArgument);
        }
      }),
    );
  });
});

describe("formatBootstrapAnswer", () => {
  it("answers protobuf with protobuf", () => {
    const bytes = formatBootstrapAnswer("protobuf", endpoint, 2);
    expect(fromBinary(BootstrapResultSchema, bytes)).toMatchObject(endpoint);
  });

  it("answers text with JSON of a version the daemon takes, and with the bare address before there was one", () => {
    expect(text("text")).toBe(endpoint.address);
    expect(JSON.parse(text("text", 2))).toEqual({ ...endpoint, version: 2 });
    expect(JSON.parse(text("text", 9))).toEqual(endpoint);
  });
});
