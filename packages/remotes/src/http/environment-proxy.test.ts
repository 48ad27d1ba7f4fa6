import { codeName, codeOf } from "@berth/errors";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { readEnvironmentProxies } from "./environment-proxy.ts";

const PROXY = "http://proxy.test:3128";

const isProxied = (noProxy: string, host: string, scheme = "http"): boolean => {
  const find = readEnvironmentProxies({ HTTP_PROXY: PROXY, HTTPS_PROXY: PROXY, NO_PROXY: noProxy });
  return find(new URL(`${scheme}://${host}`)) === PROXY;
};

describe("readEnvironmentProxies", () => {
  it.each<readonly [NodeJS.ProcessEnv, string, string | undefined]>([
    [{}, "http://a.test", undefined],
    [{ HTTP_PROXY: "one.test:1" }, "http://a.test", "http://one.test:1"],
    [{ HTTP_PROXY: "me:secret@one.test" }, "http://a.test", "http://me:secret@one.test"],
    [{ HTTP_PROXY: "one.test" }, "https://a.test", undefined],
    [{ HTTPS_PROXY: "https://one.test" }, "https://a.test", "https://one.test"],
    [{ HTTPS_PROXY: "one.test" }, "http://a.test", undefined],
    [{ HTTPS_PROXY: "socks5://one.test:1080" }, "https://a.test", "socks5://one.test:1080"],
    [{ HTTP_PROXY: "one.test", http_proxy: "two.test" }, "http://a.test", "http://one.test"],
    [{ HTTP_PROXY: "", http_proxy: "two.test" }, "http://a.test", "http://two.test"],
    [{ http_proxy: "two.test", no_proxy: "a.test" }, "http://a.test", undefined],
    [{ http_proxy: "two.test", no_proxy: "a.test", NO_PROXY: "b.test" }, "http://a.test", "http://two.test"],
    [{ HTTPS_PROXY: "one.test", REQUEST_METHOD: "GET" }, "https://a.test", "http://one.test"],
  ])("of %j finds for %s %s", (environment, url, expected) => {
    expect(readEnvironmentProxies(environment)(new URL(url))).toBe(expected);
  });

  it("refuses HTTP_PROXY in a CGI program, which a request can set", () => {
    const find = readEnvironmentProxies({ HTTP_PROXY: PROXY, REQUEST_METHOD: "GET" });
    const refused = (): unknown => {
      try {
        return find(new URL("http://a.test"));
      } catch (error) {
        return codeName(codeOf(error));
      }
    };
    expect(refused()).toBe("failed_precondition");
  });

  it.each<readonly [string, readonly string[], readonly string[]]>([
    ["", [], ["a.test", "10.0.0.1", "[::2]", "a.localhost", "localhost.test"]],
    ["", ["localhost", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000", "[::ffff:127.0.0.1]"], []],
    ["*", ["a.test", "10.0.0.1"], []],
    ["b.test, * ", ["a.test"], []],
    ["a.test", ["a.test", "A.TEST", "b.a.test", "c.b.a.test", "a.test:5000"], ["ba.test", "a.test.b", "test"]],
    [".a.test", ["b.a.test"], ["a.test", "ba.test"]],
    ["*.a.test", ["b.a.test"], ["a.test", "ba.test"]],
    ["a.test:5000", ["a.test:5000", "b.a.test:5000"], ["a.test", "a.test:5001"]],
    ["a.test:80", ["a.test"], ["a.test:8080"]],
    [" A.test ,,b.test", ["a.test", "b.test"], ["c.test"]],
    ["bücher.test", ["xn--bcher-kva.test", "www.bücher.test"], ["bucher.test"]],
    ["10.1.2.3", ["10.1.2.3", "10.1.2.3:5000", "[::ffff:10.1.2.3]"], ["10.1.2.4"]],
    ["10.1.2.3:5000", ["10.1.2.3:5000"], ["10.1.2.3"]],
    ["10.0.0.0/8,192.0.2.0/24", ["10.255.255.1:5000", "192.0.2.9"], ["11.0.0.1", "192.0.3.1", "a.test", "[::2]"]],
    ["10.1.2.3/8", ["10.9.9.9"], []],
    ["0.0.0.0/0", ["8.8.8.8"], ["[2001:db8::1]", "a.test"]],
    ["::/0", ["[2001:db8::1]"], ["8.8.8.8"]],
    ["2001:db8::52:0:1", ["[2001:db8::52:0:1]", "[2001:DB8:0::52:0:1]:5000"], ["[2001:db8::52:0:2]"]],
    ["[2001:db8::1]:5000", ["[2001:db8::1]:5000"], ["[2001:db8::1]"]],
    ["2001:db8:a::45/64", ["[2001:db8:a::123]"], ["[2001:db8:b::123]"]],
    // The end of a name, and not of an address.
    [".1.2", [], ["10.0.1.2"]],
    // What means nothing.
    [
      ":80,[]:80,10.0.0.0/33,10.0.0.0/,/8,2001:db8::/129,fe80::1%eth0,.,a:b:c",
      [],
      ["a.test", "10.0.0.1", "[2001:db8::1]"],
    ],
  ])("with NO_PROXY=%j goes past the proxy to %j, and not to %j", (noProxy, direct, proxied) => {
    for (const scheme of ["http", "https"]) {
      if (/:80\b/.test(noProxy) && scheme === "https") continue;
      for (const host of direct) expect.soft(isProxied(noProxy, host, scheme), host).toBe(false);
      for (const host of proxied) expect.soft(isProxied(noProxy, host, scheme), host).toBe(true);
    }
  });

  const bits = (address: readonly number[], size: number): string =>
    address.map((part) => part.toString(2).padStart(size, "0")).join("");

  it("takes an address for one of a network when their first bits are the same", () => {
    const octets = fc.array(fc.integer({ min: 0, max: 255 }), { minLength: 4, maxLength: 4 });
    const groups = fc.array(fc.integer({ min: 0, max: 0xffff }), { minLength: 8, maxLength: 8 });
    const cases = fc.oneof(
      fc.record({ one: octets, other: octets, size: fc.constant(8) }),
      fc.record({ one: groups, other: groups, size: fc.constant(16) }),
    );
    fc.assert(
      fc.property(cases, fc.nat(128), fc.nat(128), ({ one, other, size }, shared, length) => {
        const width = one.length * size;
        // Of random addresses no two are in the same network: the first of one are given to the other.
        const mixed =
          bits(one, size).slice(0, Math.min(shared, width)) + bits(other, size).slice(Math.min(shared, width));
        const parts = mixed.match(new RegExp(`.{${size}}`, "g")) ?? [];
        const host = parts.map((part) => Number.parseInt(part, 2));
        const text = (address: readonly number[]): string =>
          size === 8 ? address.join(".") : address.map((part) => part.toString(16)).join(":");
        // This machine is never asked by a proxy.
        fc.pre(!text(host).startsWith("127.") && !/^0(?::0){4}/.test(text(host)));
        const prefix = Math.min(length, width);
        const isInside = mixed.startsWith(bits(one, size).slice(0, prefix));
        const url = size === 8 ? text(host) : `[${text(host)}]`;
        expect(isProxied(`${text(one)}/${prefix}`, url)).toBe(!isInside);
      }),
    );
  });

  it("takes a domain for itself and all below it, or with a dot only those", () => {
    const label = fc.stringMatching(/^[a-z]([a-z0-9-]{0,8}[a-z0-9])?$/);
    const domain = fc.array(label, { minLength: 1, maxLength: 3 }).map((labels) => `${labels.join(".")}.test`);
    fc.assert(
      fc.property(domain, label, (name, below) => {
        expect(isProxied(name, name)).toBe(false);
        expect(isProxied(name, `${below}.${name}`)).toBe(false);
        expect(isProxied(name, `${below}${name}`)).toBe(true);
        expect(isProxied(`.${name}`, name)).toBe(true);
        expect(isProxied(`.${name}`, `${below}.${name}`)).toBe(false);
      }),
    );
  });

  it("reads anything, and never asks a proxy for this machine", () => {
    const entry = fc.oneof(fc.string({ maxLength: 20 }), fc.stringMatching(/^[0-9a-f.:[\]/*%]{0,20}$/));
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 5 }), (entries) => {
        expect(isProxied(entries.join(","), "127.0.0.1:5000")).toBe(false);
        isProxied(entries.join(","), "a.test");
        isProxied(entries.join(","), "[2001:db8::1]");
      }),
    );
  });
});
