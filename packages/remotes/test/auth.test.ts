import { execFile } from "node:child_process";
import { chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { once } from "node:events";
import { join } from "node:path";
import { promisify } from "node:util";

import { codeName, codeOf } from "@berth/errors";
import type { Descriptor } from "@berth/oci";
import { MediaType } from "@berth/oci";
import type { FaultRegistry } from "@berth/testing";
import { startFaultRegistry, startRegistry, temporaryDirectory } from "@berth/testing";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

import type { CredentialSource, RegistryOptions } from "../src/index.ts";
import { dockerConfigCredentials, firstOf, RegistryClient } from "../src/index.ts";

const USER: CredentialSource = async () => ({ username: "user", secret: "s3cret" });
const BASIC = `Basic ${Buffer.from("user:s3cret").toString("base64")}`;

interface TokenAsk {
  readonly method: string;
  readonly url: URL;
  readonly form: URLSearchParams;
  readonly authorization: string | undefined;
}

interface TokenServer extends AsyncDisposable {
  readonly origin: string;
  readonly asked: TokenAsk[];
  answer: (ask: TokenAsk) => { readonly status: number; readonly body: unknown };
}

async function startTokenServer(): Promise<TokenServer> {
  const asked: TokenAsk[] = [];
  const server = createServer((request, response) => {
    void readAll(request).then((body) => {
      const { method = "", headers } = request;
      const url = new URL(request.url ?? "", "http://token");
      const ask = { method, url, form: new URLSearchParams(body), authorization: headers.authorization };
      asked.push(ask);
      const { status, body: answer } = tokens.answer(ask);
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(answer));
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const tokens: TokenServer = {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    answer: () => ({ status: 200, body: { token: "good" } }),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
    },
  };
  return tokens;
}

async function readAll(request: IncomingMessage): Promise<string> {
  return Buffer.concat(await Array.fromAsync(request)).toString();
}

describe("RegistryClient and who it is", () => {
  let stack: AsyncDisposableStack;
  let registry: FaultRegistry;
  let tokens: TokenServer;
  let manifest: Descriptor;

  beforeEach(async () => {
    stack = new AsyncDisposableStack();
    registry = stack.use(await startFaultRegistry());
    tokens = stack.use(await startTokenServer());
    manifest = registry.add(new TextEncoder().encode("{}"), MediaType.ociManifest);
    registry.tag("1", manifest);
  });

  afterEach(() => stack.disposeAsync());

  const wantsToken = (good: () => string = () => "Bearer good"): void => {
    const challenge = `Bearer realm="${tokens.origin}/token",service="registry.test",scope="repository:x:pull"`;
    registry.fault = ({ headers }) =>
      headers.authorization === good()
        ? undefined
        : { kind: "status", status: 401, headers: { "www-authenticate": challenge } };
  };
  const resolve = async (credentials?: CredentialSource): Promise<unknown> => {
    await using client = new RegistryClient(credentials === undefined ? {} : { credentials });
    return await client.resolve(`${registry.host}/x:1`).then(
      ({ descriptor }) => descriptor,
      (error: unknown) => codeName(codeOf(error)),
    );
  };

  it("gets an anonymous token by GET", async () => {
    wantsToken();
    expect(await resolve()).toEqual(manifest);
    expect(tokens.asked).toHaveLength(1);
    expect(tokens.asked[0]).toMatchObject({ method: "GET", authorization: undefined });
    expect(Object.fromEntries(tokens.asked[0]?.url.searchParams ?? [])).toEqual({
      service: "registry.test",
      scope: "repository:x:pull",
    });
  });

  it("gets a token for a user by POST", async () => {
    wantsToken();
    expect(await resolve(USER)).toEqual(manifest);
    expect(tokens.asked.map(({ method, form }) => [method, Object.fromEntries(form)])).toEqual([
      [
        "POST",
        {
          client_id: "containerd-client",
          grant_type: "password",
          password: "s3cret",
          scope: "repository:x:pull",
          service: "registry.test",
          username: "user",
        },
      ],
    ]);
  });

  it.each([
    ["Bearer", () => wantsToken()],
    [
      "Basic",
      () => {
        registry.fault = ({ headers }) =>
          headers.authorization === "Bearer good"
            ? undefined
            : { kind: "status", status: 401, headers: { "www-authenticate": 'Basic realm="x"' } };
      },
    ],
  ])("sends a header as it is to a host that asks for %s, and once", async (_scheme, demand) => {
    demand();
    expect(await resolve(async () => ({ username: "", secret: "", header: "Bearer good" }))).toEqual(manifest);
    expect(await resolve(async () => ({ username: "", secret: "", header: "Bearer bad" }))).toBe("unauthenticated");
    expect(tokens.asked).toEqual([]);
    const sent = registry.requests.filter(({ headers }) => headers.authorization === "Bearer bad");
    expect(sent).toHaveLength(1);
  });

  it("gets a token for a refresh token", async () => {
    wantsToken();
    expect(await resolve(async () => ({ username: "", secret: "refresh" }))).toEqual(manifest);
    expect(tokens.asked[0]?.form.get("grant_type")).toBe("refresh_token");
    expect(tokens.asked[0]?.form.get("refresh_token")).toBe("refresh");
  });

  it.each([400, 401, 404, 405])("falls back to GET when POST is answered with %i", async (status) => {
    wantsToken();
    tokens.answer = ({ method }) =>
      method === "POST" ? { status, body: {} } : { status: 200, body: { access_token: "good", token: "bad" } };
    expect(await resolve(USER)).toEqual(manifest);
    expect(tokens.asked.map(({ method, authorization }) => [method, authorization])).toEqual([
      ["POST", undefined],
      ["GET", BASIC],
    ]);
  });

  it("gets a new token when the old one has ended, during one client's life", async () => {
    let good = "first";
    wantsToken(() => `Bearer ${good}`);
    tokens.answer = () => ({ status: 200, body: { token: good } });
    await using client = new RegistryClient();
    await client.resolve(`${registry.host}/x:1`);
    good = "second";
    expect(await client.resolve(`${registry.host}/x:1`)).toMatchObject({ descriptor: manifest });
    expect(tokens.asked).toHaveLength(2);
  });

  it("asks once for a token that many wait for", async () => {
    wantsToken();
    await using client = new RegistryClient();
    await client.resolve(`${registry.host}/x:1`);
    await Promise.all(Array.from({ length: 8 }, () => client.resolve(`${registry.host}/x:1`)));
    expect(tokens.asked).toHaveLength(1);
  });

  it.each<readonly [string, () => void, CredentialSource | undefined, string]>([
    ["a token that is refused again", () => wantsToken(() => "Bearer other"), undefined, "unauthenticated"],
    [
      "a token server that refuses",
      () => {
        wantsToken();
        tokens.answer = () => ({ status: 401, body: {} });
      },
      USER,
      "unauthenticated",
    ],
    [
      "a token server that gives none",
      () => {
        wantsToken();
        tokens.answer = () => ({ status: 200, body: { token: "" } });
      },
      undefined,
      "failed_precondition",
    ],
    [
      "a token with a line break",
      () => {
        wantsToken();
        tokens.answer = () => ({ status: 200, body: { token: "a\r\nx: y" } });
      },
      undefined,
      "failed_precondition",
    ],
    [
      "a realm that is no URL",
      () => {
        registry.fault = () => ({
          kind: "status",
          status: 401,
          headers: { "www-authenticate": 'Bearer realm="file:///etc/passwd"' },
        });
      },
      undefined,
      "failed_precondition",
    ],
  ])("fails with %s", async (_name, prepare, credentials, code) => {
    prepare();
    expect(await resolve(credentials)).toBe(code);
  });

  it("reads credentials from a file that hosts.toml names, for that host only", async () => {
    await using other = await startFaultRegistry();
    await using directory = await temporaryDirectory("hosts");
    const own = join(directory.path, registry.host);
    await mkdir(own);
    await writeFile(join(own, "secret"), "user:s3cret\n");
    const toml = `server = "http://${registry.host}"\ncredentials_file = "secret"\n[host."http://${other.host}"]\n`;
    await writeFile(join(own, "hosts.toml"), toml);
    for (const each of [registry, other]) {
      each.fault = ({ headers }) =>
        headers.authorization === BASIC
          ? undefined
          : { kind: "status", status: 401, headers: { "www-authenticate": "Basic realm=x" } };
    }
    await using client = new RegistryClient({ hostDirectories: [directory.path] });
    expect(await client.resolve(`${registry.host}/x:1`)).toMatchObject({ descriptor: manifest });
    expect(other.requests.map(({ headers }) => headers.authorization)).toEqual([undefined]);
  });
});

describe("dockerConfigCredentials", () => {
  const sourceOf = async (directory: string, config: unknown): Promise<CredentialSource> => {
    const path = join(directory, "config.json");
    await writeFile(path, typeof config === "string" ? config : JSON.stringify(config));
    return dockerConfigCredentials({ path });
  };
  const auth = Buffer.from("user:pass:word").toString("base64");

  it.each([
    [
      "by its host",
      { auths: { "example.org:5000": { auth } } },
      "example.org:5000",
      { username: "user", secret: "pass:word" },
    ],
    [
      "by a URL",
      { auths: { "https://example.org/v1/": { auth } } },
      "example.org",
      { username: "user", secret: "pass:word" },
    ],
    [
      "of Docker",
      { auths: { "https://index.docker.io/v1/": { auth } } },
      "registry-1.docker.io",
      { username: "user", secret: "pass:word" },
    ],
    [
      "with a token",
      { auths: { "example.org": { identitytoken: "t" } } },
      "example.org",
      { username: "", secret: "t" },
    ],
    [
      "in the clear",
      { auths: { "example.org": { username: "u", password: "p" } } },
      "example.org",
      { username: "u", secret: "p" },
    ],
    ["of another host", { auths: { "example.org": { auth } } }, "other.example.org", undefined],
    ["without any", {}, "example.org", undefined],
  ])("finds credentials %s", async (_name, config, host, expected) => {
    await using directory = await temporaryDirectory("docker-config");
    expect(await (await sourceOf(directory.path, config))(host)).toEqual(expected);
  });

  it.each([
    ["no JSON", "{ auths: SECRET }"],
    ["another type", { auths: "SECRET" }],
    ["no base64", { auths: { "example.org": { auth: "SECRET" } } }],
    ["a helper with a path", { credsStore: "../SECRET" }],
  ])("refuses %s, without telling what it says", async (_name, config) => {
    await using directory = await temporaryDirectory("docker-config");
    const error = await (await sourceOf(directory.path, config))("example.org").catch((thrown: unknown) => thrown);
    expect(codeName(codeOf(error))).toBe("invalid_argument");
    if (!JSON.stringify(config).includes("..")) expect(String(error)).not.toContain("SECRET");
  });

  it("asks a credential helper, and the next source when it knows nothing", async () => {
    await using directory = await temporaryDirectory("docker-config");
    const helper = join(directory.path, "docker-credential-test");
    const script = `#!/bin/sh\nread host\n[ "$1 $host" = "get example.org" ] || { echo "credentials not found in native keychain"; exit 1; }\necho '{"ServerURL":"","Username":"helped","Secret":"x"}'\n`;
    await writeFile(helper, script);
    await chmod(helper, 0o755);
    const path = process.env["PATH"];
    process.env["PATH"] = `${directory.path}:${path}`;
    try {
      const source = firstOf(
        await sourceOf(directory.path, { credHelpers: { "example.org": "test" }, credsStore: "test" }),
        USER,
      );
      expect(await source("example.org")).toEqual({ username: "helped", secret: "x" });
      expect(await source("other.example.org")).toEqual({ username: "user", secret: "s3cret" });
    } finally {
      process.env["PATH"] = path;
    }
  });

  it("tells that a helper is missing", async () => {
    await using directory = await temporaryDirectory("docker-config");
    const error = await (
      await sourceOf(directory.path, { credsStore: "nowhere" })
    )("example.org").catch((thrown: unknown) => thrown);
    expect(codeName(codeOf(error))).toBe("failed_precondition");
  });
});

describe("RegistryClient with Debian's docker-registry over TLS", () => {
  it("trusts the authority that hosts.toml or a .crt file names, and no other", { timeout: 60_000 }, async () => {
    await using directory = await temporaryDirectory("tls");
    const [certificate, key] = [join(directory.path, "cert.pem"), join(directory.path, "key.pem")];
    const subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"];
    await promisify(execFile)("openssl", [
      "req",
      "-x509",
      "-newkey",
      "rsa:2048",
      "-nodes",
      "-days",
      "2",
      "-keyout",
      key,
      "-out",
      certificate,
      ...subject,
    ]);
    await using registry = await startRegistry({ tls: { certificate, key } });
    const hosts = join(directory.path, "hosts");
    const own = join(hosts, registry.host);
    await mkdir(own, { recursive: true });
    const resolve = async (options: RegistryOptions = { hostDirectories: [hosts] }): Promise<string> => {
      await using client = new RegistryClient(options);
      return await client.resolve(`${registry.host}/x:1`).then(
        () => "ok",
        (error: unknown) => codeName(codeOf(error)),
      );
    };
    await writeFile(join(own, "hosts.toml"), `server = "https://${registry.host}"\n`);
    expect(await resolve()).toBe("failed_precondition");
    await writeFile(join(own, "hosts.toml"), `server = "https://${registry.host}"\nca = "${certificate}"\n`);
    expect(await resolve()).toBe("not_found");
    await writeFile(join(own, "hosts.toml"), `server = "https://${registry.host}"\nskip_verify = true\n`);
    expect(await resolve()).toBe("not_found");
    await writeFile(join(own, "hosts.toml"), "");
    await promisify(execFile)("cp", [certificate, join(own, "ca.crt")]);
    expect(await resolve()).toBe("not_found");
    // Of this machine, whoever answers is taken for it, unless it is said who should; TLS comes first.
    const trusted = { authorities: [], clientCertificates: [], skipVerify: false };
    expect(await resolve({})).toBe("not_found");
    expect(await resolve({ tls: trusted })).toBe("failed_precondition");
    expect(await resolve({ tls: { ...trusted, authorities: [await readFile(certificate, "utf8")] } })).toBe(
      "not_found",
    );
    expect(await resolve({ plainHttp: true })).toBe("invalid_argument");
  });
});
