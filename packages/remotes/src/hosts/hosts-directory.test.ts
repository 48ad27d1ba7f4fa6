import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";

import type { LogFields } from "@berth/core/log";
import { loggerOf } from "@berth/core/log";
import { temporaryDirectory } from "@berth/testing";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

import type { HostDefaults } from "./default-host.ts";
import { hostsFromDirectory } from "./hosts-directory.ts";
import type { RegistryHost, TlsSettings } from "./registry-host.ts";

const TLS: TlsSettings = {
  authorities: ["client's ca"],
  clientCertificates: [{ certificate: "client's", key: "client's key" }],
  skipVerify: false,
};
const REGISTRY = "example.org:5000";

describe("hostsFromDirectory", () => {
  let stack: AsyncDisposableStack;
  let root: string;
  let logged: readonly (readonly [string, LogFields])[];

  beforeEach(async () => {
    stack = new AsyncDisposableStack();
    root = stack.use(await temporaryDirectory("hosts")).path;
    logged = [];
  });

  afterEach(() => stack.disposeAsync());

  const read = async (
    files: Readonly<Record<string, string>>,
    defaults: HostDefaults = {},
    registry = REGISTRY,
  ): Promise<readonly RegistryHost[]> => {
    const directory = join(root, registry);
    await mkdir(directory);
    for (const [name, text] of Object.entries(files)) await writeFile(join(directory, name), text);
    const log = loggerOf((level, _message, fields) => void (logged = [...logged, [level, fields]]));
    return (await hostsFromDirectory([root], registry, defaults, log)) ?? [];
  };
  const origins = (hosts: readonly RegistryHost[]): string[] =>
    hosts.map(({ scheme, host, path }) => `${scheme}://${host}${path}`);

  it("takes what it knows of a hosts.toml, and warns once of the rest", async () => {
    const toml = `auth = "s3cret"\n[host."https://mirror.test"]\nca = "a.pem"\n[host."https://mirror.test".rewrite]\n"x" = "y"\n`;
    const hosts = await read({ "hosts.toml": toml, "a.pem": "its ca" });
    expect(origins(hosts)).toEqual(["https://mirror.test/v2", `https://${REGISTRY}/v2`]);
    expect(hosts[0]?.tls?.authorities).toEqual(["its ca"]);
    const keys = ["auth", 'host."https://mirror.test".rewrite'];
    expect(logged).toEqual([["warn", { path: join(root, REGISTRY, "hosts.toml"), keys }]]);
  });

  it("adds what the client says of TLS to what is said of each host", async () => {
    const toml = `ca = "a.pem"\nclient = "a.pem"\n[host."https://one.test"]\n[host."https://two.test"]\nskip_verify = true\n`;
    const [one, two, upstream] = await read({ "hosts.toml": toml, "a.pem": "its own" }, { tls: TLS });
    expect(one?.tls).toEqual(TLS);
    expect(two?.tls).toEqual({ ...TLS, skipVerify: true });
    expect(upstream?.tls).toEqual({
      authorities: ["client's ca", "its own"],
      clientCertificates: [...TLS.clientCertificates, { certificate: "its own", key: "its own" }],
      skipVerify: false,
    });
  });

  it.each([
    ["", true],
    ["skip_verify = true", true],
    ["skip_verify = false", false],
    ['ca = "a.pem"', true],
  ])("lets %j of a host count before a client that believes anybody: %s", async (line, expected) => {
    const files = { "hosts.toml": `${line}\n[host."one.test"]\n`, "a.pem": "" };
    const hosts = await read(files, { tls: { ...TLS, skipVerify: true } });
    expect(hosts.map(({ tls }) => tls?.skipVerify)).toEqual([true, expected]);
  });

  it.each([false, true])(
    "adds what the client says of TLS to a directory of certificates; it believes anybody: %s",
    async (skipVerify) => {
      const [host] = await read({ "a.crt": "its own" }, { tls: { ...TLS, skipVerify } });
      expect(host?.tls).toEqual({ ...TLS, skipVerify, authorities: ["client's ca", "its own"] });
    },
  );

  it.each<readonly [string, Readonly<Record<string, string>>, string, readonly string[]]>([
    ["nothing", {}, REGISTRY, ["http://example.org:5000/v2"]],
    ["certificates", { "a.crt": "" }, REGISTRY, ["http://example.org:5000/v2"]],
    [
      "mirrors",
      { "hosts.toml": '[host."https://one.test"]' },
      REGISTRY,
      ["https://one.test/v2", "http://example.org:5000/v2"],
    ],
    ["a server", { "hosts.toml": 'server = "https://two.test"' }, REGISTRY, ["https://two.test/v2"]],
    ["nothing of Docker Hub", {}, "docker.io", ["https://registry-1.docker.io/v2"]],
  ])("asks by plain HTTP, if the client wants that, where there is %s, what has no scheme", async (...row) => {
    const [, files, registry, expected] = row;
    expect(origins(await read(files, { plainHttp: true }, registry))).toEqual(expected);
  });

  it("asks servers without a scheme by https, those of this machine too", async () => {
    const hosts = await read({
      "hosts.toml": 'server = "localhost:5000"\n[host."127.0.0.1:5001"]\n[host."one.test/v2"]',
    });
    expect(origins(hosts)).toEqual(["https://127.0.0.1:5001/v2", "https://one.test/v2", "https://localhost:5000/v2"]);
  });

  it("tries a registry of this machine by TLS, whatever its mirrors are", async () => {
    const registry = "127.0.0.1:5000";
    const [, upstream] = await read({ "hosts.toml": '[host."https://one.test"]\nskip_verify = false' }, {}, registry);
    expect(upstream).toMatchObject({ scheme: "http", triesTls: true, tls: { skipVerify: true } });
  });
});
