import { Code, codeOf } from "@berth/errors";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { isCidr } from "./address.ts";
import { CNI_VERSIONS } from "./cni-version.ts";
import { networkState } from "./network-state.ts";
import { formatResult, parseResult } from "./result.ts";

const NEW = {
  cniVersion: "1.1.0",
  interfaces: [
    { name: "b0", mac: "00:11:22:33:44:55", mtu: 1500 },
    { name: "eth0", sandbox: "/proc/1/ns/net", socketPath: "/s", pciID: "p" },
  ],
  ips: [
    { interface: 1, address: "10.1.0.2/16", gateway: "10.1.0.1" },
    { interface: 1, address: "fd00::2/64" },
  ],
  routes: [
    { dst: "0.0.0.0/0", gw: "10.1.0.1", mtu: 1400, advmss: 1, priority: 2, table: 0, scope: 0 },
    { dst: "::/0" },
  ],
  dns: { nameservers: ["10.1.0.1"], domain: "local", search: ["a"], options: ["o"] },
};

/** Without what is absent. */
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

describe("parseResult", () => {
  it("keeps all of a result of the newest version", () => {
    expect(plain(formatResult(parseResult(JSON.stringify(NEW), "0.1.0"), "1.1.0"))).toEqual(NEW);
  });

  it("reads 0.4.0 and 0.2.0 in the form of the newest", () => {
    const ips = NEW.ips.map((ip, index) => ({ version: index === 0 ? "4" : "6", ...ip }));
    expect(parseResult(JSON.stringify({ ...NEW, ips, cniVersion: "0.4.0" }), "")).toMatchObject({ ips: NEW.ips });
    const old = {
      cniVersion: "0.2.0",
      ip4: { ip: "10.1.0.2/16", gateway: "10.1.0.1", routes: [{ dst: "0.0.0.0/0" }] },
      ip6: { ip: "fd00::2/64" },
      dns: { nameservers: ["1.1.1.1"] },
    };
    expect(plain(parseResult(JSON.stringify(old), "1.0.0"))).toEqual({
      interfaces: [],
      ips: [{ address: "10.1.0.2/16", gateway: "10.1.0.1" }, { address: "fd00::2/64" }],
      routes: [{ dst: "0.0.0.0/0" }],
      dns: { nameservers: ["1.1.1.1"], search: [], options: [] },
    });
  });

  it("takes the version of the configuration where there is none, and nothing as nothing", () => {
    expect(parseResult('{"ip4":{"ip":"10.0.0.2/8"}}', "0.2.0").ips).toHaveLength(1);
    expect(parseResult('{"cniVersion":"","ip4":{"ip":"10.0.0.2/8"}}', "1.0.0").ips).toHaveLength(0);
    expect(parseResult("null", "1.0.0").ips).toHaveLength(0);
  });

  it.each([
    "",
    "[]",
    '"text"',
    '{"cniVersion":"9.9.9"}',
    '{"cniVersion":"1.0.0","ips":[{"address":"10.1.0.2"}]}',
    '{"cniVersion":"1.0.0","ips":[{"address":"10.1.0.2/33"}]}',
    '{"cniVersion":"1.0.0","ips":[{"address":"10.1.0.2/8","gateway":"here"}]}',
    '{"cniVersion":"1.0.0","ips":[{"address":"10.1.0.2/8","interface":-1}]}',
    '{"cniVersion":"1.0.0","interfaces":[{"name":"a"}],"ips":[{"address":"10.1.0.2/8","interface":1}]}',
    '{"cniVersion":"1.0.0","routes":[{"dst":"all"}]}',
    '{"cniVersion":"0.2.0","ip4":{"ip":"none"}}',
  ])("%s is refused", (text) => {
    expect(() => parseResult(text, "1.0.0")).toThrow(expect.objectContaining({ code: Code.Unknown }));
  });

  it("reads or refuses any text", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), fc.constantFrom(...CNI_VERSIONS), (text, version) => {
        try {
          const result = parseResult(text, version);
          expect(result.ips.every(({ address }) => isCidr(address))).toBe(true);
        } catch (error) {
          expect(codeOf(error)).toBe(Code.Unknown);
        }
      }),
    );
  });

  it("is the inverse of formatResult, from 1.0.0 on", () => {
    const octet = fc.nat(255);
    const ip = fc.tuple(octet, octet, octet, octet).map((parts) => parts.join("."));
    const interfaces = fc.array(
      fc.record({ name: fc.string({ minLength: 1 }), mtu: fc.integer({ min: 1, max: 9000 }) }),
      {
        minLength: 1,
      },
    );
    const ips = fc.array(
      fc.record({ address: ip.map((text) => `${text}/24`), gateway: ip, interface: fc.constant(0) }),
    );
    const routes = fc.array(fc.record({ dst: ip.map((text) => `${text}/0`), table: fc.nat() }));
    fc.assert(
      fc.property(interfaces, ips, routes, fc.constantFrom("1.0.0", "1.1.0"), (some, addresses, ways, cniVersion) => {
        const given = { cniVersion, interfaces: some, ips: addresses, routes: ways };
        const result = parseResult(JSON.stringify(given), "0.1.0");
        expect(parseResult(JSON.stringify(formatResult(result, cniVersion)), "0.1.0")).toEqual(result);
      }),
    );
  });
});

describe("formatResult", () => {
  it.each([
    ["0.3.1", { version: "4", interface: 1, address: "10.1.0.2/16", gateway: "10.1.0.1" }],
    ["0.4.0", { version: "4", interface: 1, address: "10.1.0.2/16", gateway: "10.1.0.1" }],
    ["1.0.0", { interface: 1, address: "10.1.0.2/16", gateway: "10.1.0.1" }],
  ])("of %s has addresses as %j", (version, expected) => {
    const formatted = plain(formatResult(parseResult(JSON.stringify(NEW), ""), version));
    expect(formatted).toMatchObject({ cniVersion: version, ips: [expected, {}] });
  });

  it("of 0.2.0 has one address of each family, with its routes", () => {
    expect(plain(formatResult(parseResult(JSON.stringify(NEW), ""), "0.2.0"))).toEqual({
      cniVersion: "0.2.0",
      ip4: { ip: "10.1.0.2/16", gateway: "10.1.0.1", routes: [{ dst: "0.0.0.0/0", gw: "10.1.0.1" }] },
      ip6: { ip: "fd00::2/64", routes: [{ dst: "::/0" }] },
      dns: NEW.dns,
    });
  });
});

describe("networkState", () => {
  it("gives addresses to their interfaces, and those of none to the first", () => {
    const other = parseResult('{"cniVersion":"1.0.0","ips":[{"address":"10.9.0.2/24"}]}', "");
    const state = networkState([parseResult(JSON.stringify(NEW), ""), other], "eth0");
    expect(state.interfaces.get("eth0")).toEqual({
      sandbox: "/proc/1/ns/net",
      socketPath: "/s",
      pciId: "p",
      addresses: [{ ip: "10.1.0.2", gateway: "10.1.0.1" }, { ip: "fd00::2" }, { ip: "10.9.0.2" }],
    });
    expect(state.interfaces.get("b0")).toEqual({ mac: "00:11:22:33:44:55", addresses: [] });
    expect(state.routes).toHaveLength(2);
  });

  it("refuses an address of no interface", () => {
    const bad = parseResult('{"cniVersion":"1.0.0","ips":[{"address":"10.9.0.2/24","interface":0}]}', "");
    expect(() => networkState([bad], "eth0")).toThrow(expect.objectContaining({ code: Code.Unknown }));
  });
});
