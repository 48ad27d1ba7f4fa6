import { Code, codeOf } from "@berth/errors";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { parseShimFlags } from "./flags.ts";

const failure = (args: readonly string[]): Code | undefined => {
  try {
    parseShimFlags(args);
    return undefined;
  } catch (error) {
    return codeOf(error);
  }
};

describe("parseShimFlags", () => {
  it("reads what containerd passes", () => {
    const line = "-namespace ns -address /a.sock -publish-binary /bin/containerd -id c1 -bundle /b -debug start";
    expect(parseShimFlags(line.split(" "))).toEqual({
      namespace: "ns",
      address: "/a.sock",
      publishBinary: "/bin/containerd",
      id: "c1",
      bundle: "/b",
      socket: "",
      debugSocket: "",
      debug: true,
      version: false,
      info: false,
      action: "start",
      more: [],
    });
  });

  it.each([
    [["-id=x=y", "delete"], { id: "x=y", action: "delete" }],
    [["--id", "x"], { id: "x", action: "" }],
    [["-id", "-v"], { id: "-v", version: false }],
    [["-debug=false", "-info"], { debug: false, info: true }],
    [["-v", "--", "start"], { version: true, action: "start" }],
    [["start", "-id", "x"], { action: "start", id: "", more: ["-id", "x"] }],
  ])("%j", (args, expected) => {
    expect(parseShimFlags(args)).toMatchObject(expected);
  });

  it.each([[["-unknown"]], [["-id"]], [["-debug=perhaps"]], [["-constructor", "x"]], [["-__proto__=x"]]])(
    "refuses %j",
    (args) => {
      expect(failure(args)).toBe(Code.InvalidArgument);
    },
  );

  it("fails with invalid_argument or not at all", () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(fc.string(), fc.constantFrom("-id", "-v", "--", "-debug=1", "start"))), (args) => {
        expect([undefined, Code.InvalidArgument]).toContain(failure(args));
      }),
    );
  });
});
