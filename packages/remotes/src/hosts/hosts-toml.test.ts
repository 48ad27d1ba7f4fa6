import { codeName, codeOf } from "@berth/errors";
import fc from "fast-check";
import { expect, it } from "vitest";

import { parseHostsToml } from "./hosts-toml.ts";

const FULL = `
server = "https://registry.example.org/"
ca = "top.pem"

[host."https://mirror.example.org:5000/prefix/"]
  capabilities = ["pull", "resolve"]
  ca = ["a.pem", "/etc/b.pem"]
  client = [["c.cert", "c.key"], "both.pem"]
  skip_verify = true
  override_path = true
  dial_timeout = "1.5s"
  proxy = "http://proxy.example.org:3128"
  credentials_file = "secret"
  [host."https://mirror.example.org:5000/prefix/".header]
    x-one = "1"
    x-two = ["2", "3"]

[host."second.example.org"]
`;

it("parseHostsToml reads every key, and the hosts in their order", () => {
  const { server, hosts } = parseHostsToml(FULL);
  expect(server).toMatchObject({ server: "https://registry.example.org", ca: ["top.pem"], overridePath: false });
  expect(hosts.map((host) => host.server)).toEqual(["https://mirror.example.org:5000/prefix", "second.example.org"]);
  expect(hosts[0]).toEqual({
    server: "https://mirror.example.org:5000/prefix",
    capabilities: ["pull", "resolve"],
    ca: ["a.pem", "/etc/b.pem"],
    client: [
      ["c.cert", "c.key"],
      ["both.pem", "both.pem"],
    ],
    skipVerify: true,
    headers: new Map([
      ["x-one", ["1"]],
      ["x-two", ["2", "3"]],
    ]),
    overridePath: true,
    dialTimeoutMs: 1500,
    proxy: "http://proxy.example.org:3128",
    credentialsFile: "secret",
  });
});

it.each(["client = 'one.pem'", 'client = ["one.pem"]', 'client = [["one.pem"]]', 'client = [["one.pem", "one.pem"]]'])(
  "parseHostsToml takes %s for one certificate",
  (line) => {
    expect(parseHostsToml(line).server.client).toEqual([["one.pem", "one.pem"]]);
  },
);

it("parseHostsToml passes over keys that it does not know, and tells them", () => {
  const { server, hosts, unknownKeys } = parseHostsToml(`
server = "https://registry.example.org"
auth = "secret"
[host."mirror.example.org"]
  capabilities = ["pull"]
  wait = 3
  [host."mirror.example.org".rewrite]
    "^a/(.*)" = "b/$1"
[plugins.x]
  y = 1
`);
  expect(server.server).toBe("https://registry.example.org");
  expect(hosts).toMatchObject([{ server: "mirror.example.org", capabilities: ["pull"] }]);
  expect(unknownKeys).toEqual([
    "auth",
    "plugins",
    'host."mirror.example.org".wait',
    'host."mirror.example.org".rewrite',
  ]);
  expect(parseHostsToml(FULL).unknownKeys).toEqual([]);
});

it.each([
  ["[]", undefined],
  ['["Pull", "RESOLVE"]', ["pull", "resolve"]],
])("parseHostsToml takes capabilities %s for %j", (text, expected) => {
  expect(parseHostsToml(`capabilities = ${text}\ndial_timeout = ""`).server.capabilities).toEqual(expected);
});

it.each([
  ["no TOML", "server ="],
  ["an unknown capability", 'capabilities = ["pull", "shove"]'],
  ["a duration that is none", 'dial_timeout = "soon"'],
  ["a value of another type", "skip_verify = 'yes'"],
  ["a proxy that is no URL", "proxy = 'nowhere'"],
  ["too many hosts", Array.from({ length: 300 }, (_, index) => `[host."h${index}"]`).join("\n")],
])("parseHostsToml refuses %s", (_name, text) => {
  const thrown = (): unknown => {
    try {
      return parseHostsToml(text);
    } catch (error) {
      return codeName(codeOf(error));
    }
  };
  expect(thrown()).toBe("invalid_argument");
});

it("parseHostsToml reads anything or says invalid_argument", () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 200 }), (text) => {
      try {
        parseHostsToml(text);
      } catch (error) {
        expect(codeName(codeOf(error))).toBe("invalid_argument");
      }
    }),
  );
});
