import { BootstrapResultSchema } from "@berth/api/containerd/runtime/bootstrap/v1/bootstrap";
import type { ShimEndpoint } from "@berth/core/shims";
import { Code, codeName, codeOf } from "@berth/errors";
import { create, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { formatEndpoint, parseBootstrapAnswer, parseEndpoint } from "./shim-endpoint.ts";

const text = (value: string) => new TextEncoder().encode(value);
const result = (init: { version: number; address: string; protocol: string }) =>
  toBinary(BootstrapResultSchema, create(BootstrapResultSchema, init));

function codeThrown(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    return codeName(codeOf(error));
  }
  return "ok";
}

describe("parseBootstrapAnswer", () => {
  it.each<[string, Uint8Array, ShimEndpoint]>([
    [
      "protobuf",
      result({ version: 3, address: "unix:///s", protocol: "grpc" }),
      { version: 3, address: "unix:///s", protocol: "grpc" },
    ],
    [
      "json",
      text('{"version":3,"address":"unix:///s","protocol":"ttrpc"}'),
      { version: 3, address: "unix:///s", protocol: "ttrpc" },
    ],
    [
      "json without protocol",
      text('{"version":2,"address":"unix:///s"}\n'),
      { version: 2, address: "unix:///s", protocol: "ttrpc" },
    ],
    [
      "an address",
      text("unix:///run/containerd/s/0f\n"),
      { version: 2, address: "unix:///run/containerd/s/0f", protocol: "ttrpc" },
    ],
    [
      "an abstract name",
      text("/containerd-shim/x.sock"),
      { version: 2, address: "/containerd-shim/x.sock", protocol: "ttrpc" },
    ],
  ])("reads %s", (_, bytes, expected) => {
    expect(parseBootstrapAnswer(bytes)).toEqual(expected);
  });

  it.each([
    ["nothing", text(""), "invalid_argument"],
    ["an error text", text("open /x: no such file\nexit"), "invalid_argument"],
    ["a newer version", text('{"version":4,"address":"a"}'), "unimplemented"],
    ["a newer version in protobuf", result({ version: 4, address: "a", protocol: "ttrpc" }), "unimplemented"],
    ["another protocol", text('{"version":3,"address":"a","protocol":"http"}'), "invalid_argument"],
    ["an empty address", text('{"version":3,"address":""}'), "invalid_argument"],
  ])("refuses %s", (_, bytes, code) => {
    expect(codeThrown(() => parseBootstrapAnswer(bytes))).toBe(code);
  });

  it("answers any bytes with an endpoint or one of its codes", () => {
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 200 }), fc.string().map(text), fc.json().map(text)), (bytes) => {
        try {
          const { version, address } = parseBootstrapAnswer(bytes);
          expect([2, 3]).toContain(version);
          expect(address).toMatch(/^[^\s\0]+$/);
        } catch (error) {
          expect([Code.InvalidArgument, Code.Unimplemented]).toContain(codeOf(error));
        }
      }),
    );
  });
});

it("parseEndpoint is the inverse of formatEndpoint", () => {
  const endpoints = fc.record<ShimEndpoint>({
    version: fc.constantFrom(2, 3),
    address: fc.stringMatching(/^unix:\/\/\/[!-~]{1,60}$/),
    protocol: fc.constantFrom("ttrpc", "grpc"),
  });
  fc.assert(
    fc.property(endpoints, (endpoint) => {
      expect(parseEndpoint(formatEndpoint(endpoint))).toEqual(endpoint);
    }),
  );
});

it.each(["", "{}", "[]", "unix:///s", '{"version":"3","address":"a"}', '{"version":1,"address":"a"}'])(
  "parseEndpoint refuses %j",
  (record) => {
    expect(codeThrown(() => parseEndpoint(record))).toBe("invalid_argument");
  },
);
