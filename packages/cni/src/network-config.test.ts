import { codeOf, Code } from "@berth/errors";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { compareVersions } from "./cni-version.ts";
import { checkAttachment, parseNetworkList, parsePlugin, parseSingleNetwork } from "./network-config.ts";

const BRIDGE = { type: "bridge", bridge: "b0" };

function codeOfThrown(act: () => unknown): Code | undefined {
  try {
    act();
  } catch (error) {
    return codeOf(error);
  }
  return undefined;
}

describe("parseNetworkList", () => {
  it("takes what there is, and defaults", () => {
    const plugin = { ...BRIDGE, capabilities: { portMappings: true, dns: false } };
    const source = JSON.stringify({ cniVersion: "1.0.0", name: "n", plugins: [plugin] });
    const parsed = parseNetworkList(source);
    expect(parsed).toEqual({
      name: "n",
      cniVersion: "1.0.0",
      disableCheck: false,
      disableGc: false,
      onlyInlinedPlugins: false,
      plugins: [{ type: "bridge", capabilities: new Set(["portMappings"]), raw: plugin }],
      source,
    });
  });

  it.each([
    [{}, "0.1.0"],
    [{ cniVersion: "0.4.0" }, "0.4.0"],
    [{ cniVersion: "0.4.0", cniVersions: ["1.0.0", "0.3.1"] }, "1.0.0"],
    [{ cniVersions: ["1.1.0", "99.0.0"] }, "1.1.0"],
    [{ cniVersion: "1.0.0", cniVersions: ["99.0.0"] }, "1.0.0"],
    [{ cniVersion: "2.0.0" }, "2.0.0"],
  ])("of %j the version is %s", (versions, expected) => {
    const source = JSON.stringify({ ...versions, name: "n", plugins: [BRIDGE] });
    expect(parseNetworkList(source).cniVersion).toBe(expected);
  });

  it.each([
    [{ disableCheck: true }, true],
    [{ disableCheck: "TRUE" }, true],
    [{ disableCheck: "false" }, false],
  ])("%j is %j", (flags, expected) => {
    expect(parseNetworkList(JSON.stringify({ ...flags, name: "n", plugins: [BRIDGE] })).disableCheck).toBe(expected);
  });

  it.each([
    "",
    "[]",
    "null",
    "{}",
    '{"name":"n","plugins":[]}',
    '{"name":"n","plugins":{}}',
    '{"name":"n","plugins":[{}]}',
    '{"name":"n","plugins":[[]]}',
    '{"name":"n","plugins":[{"type":""}]}',
    '{"name":"n","plugins":[{"type":"b","capabilities":{"a":1}}]}',
    '{"name":"../n","plugins":[{"type":"b"}]}',
    '{"name":1,"plugins":[{"type":"b"}]}',
    '{"name":"n","cniVersion":"one","plugins":[{"type":"b"}]}',
    '{"name":"n","cniVersion":1,"plugins":[{"type":"b"}]}',
    '{"name":"n","disableCheck":"maybe","plugins":[{"type":"b"}]}',
    '{"name":"n","loadOnlyInlinedPlugins":true}',
  ])("%s is refused", (source) => {
    expect(codeOfThrown(() => parseNetworkList(source))).toBe(Code.InvalidArgument);
  });

  it("reads or refuses any text, and a list inside of a list as it is", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        for (const parse of [parseNetworkList, parseSingleNetwork, parsePlugin])
          expect([undefined, Code.InvalidArgument]).toContain(codeOfThrown(() => parse(text)));
      }),
    );
  });
});

describe("parseSingleNetwork", () => {
  it("makes a list of one plugin, which the cache can hold", () => {
    const parsed = parseSingleNetwork(JSON.stringify({ ...BRIDGE, name: "n", cniVersion: "0.4.0" }));
    expect(parsed).toMatchObject({ name: "n", cniVersion: "0.4.0", plugins: [{ type: "bridge" }] });
    expect(parseNetworkList(parsed.source)).toMatchObject({ name: "n", plugins: [{ raw: { bridge: "b0" } }] });
  });

  it("refuses a list", () => {
    const list = JSON.stringify({ name: "n", type: "bridge", plugins: [BRIDGE] });
    expect(codeOfThrown(() => parseSingleNetwork(list))).toBe(Code.InvalidArgument);
  });
});

describe("compareVersions", () => {
  it("orders versions by their numbers", () => {
    const texts = ["1.0.0", "0.10.0", "0.4.0", "", "0.3.1", "1.1"];
    expect(texts.toSorted(compareVersions)).toEqual(["", "0.3.1", "0.4.0", "0.10.0", "1.0.0", "1.1"]);
  });

  it("is an order", () => {
    const version = fc.tuple(fc.nat(20), fc.nat(20), fc.nat(20)).map((parts) => parts.join("."));
    fc.assert(
      fc.property(version, version, (a, b) => {
        expect(Math.sign(compareVersions(a, b))).toBe(-Math.sign(compareVersions(b, a)) + 0);
      }),
    );
  });
});

it.each([
  ["a", "eth0", true],
  ["ns-a.b_c", "lo", true],
  ["", "eth0", false],
  ["../a", "eth0", false],
  ["a/b", "eth0", false],
  ["-a", "eth0", false],
  ["a", "", false],
  ["a", "..", false],
  ["a", "et/h", false],
  ["a", "et h", false],
  ["a", "eth0:1", false],
  ["a", "1234567890123456", false],
])("checkAttachment(%j, %j) passes: %j", (id, ifName, passes) => {
  expect(codeOfThrown(() => checkAttachment(id, ifName))).toBe(passes ? undefined : Code.InvalidArgument);
});
