import { describe, expect, it } from "vitest";

import { parseTcpAddress } from "./tcp-address.ts";

describe("parseTcpAddress", () => {
  it.each([
    ["127.0.0.1:80", { host: "127.0.0.1", port: 80 }],
    ["localhost:0", { host: "localhost", port: 0 }],
    [":65535", { host: "", port: 65_535 }],
    ["[::1]:1338", { host: "::1", port: 1338 }],
    ["[]:1", { host: "", port: 1 }],
  ])("reads %j", (text, expected) => {
    expect(parseTcpAddress(text)).toEqual(expected);
  });

  it.each(["", "80", "host", "host:", "host:65536", "::1:80", "host:-1", "host:8a", "http://host:80"])(
    "refuses %j",
    (text) => {
      expect(() => parseTcpAddress(text)).toThrow();
    },
  );
});
