import { describe, expect, it } from "vitest";

import { parseTtrpcAddress } from "./address.ts";

describe("parseTtrpcAddress", () => {
  it.each([
    ["unix:///run/s/a", "/run/s/a"],
    ["/run/s/a", "/run/s/a"],
    ["unix://@name", "\0name"],
    ["@name", "\0name"],
    ["\0name", "\0name"],
  ])("%j is %j", (address, path) => expect(parseTtrpcAddress(address)).toBe(path));

  it.each(["", "unix://", "@", "\0", "vsock://1:2", "tcp://h:1", "/a\0b"])("refuses %j", (address) => {
    expect(() => parseTtrpcAddress(address)).toThrow();
  });
});
