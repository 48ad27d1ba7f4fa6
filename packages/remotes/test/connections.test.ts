import { once } from "node:events";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createSecureServer } from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import { connect, createServer as createTcpServer } from "node:net";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";

import { writeBlob } from "@berth/core/content";
import { codeName, codeOf } from "@berth/errors";
import type { Descriptor } from "@berth/oci";
import { MediaType } from "@berth/oci";
import type { FaultRegistry } from "@berth/testing";
import { makeCertificate, MemoryContentStore, sha256, startFaultRegistry, temporaryDirectory } from "@berth/testing";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { RegistryClient } from "../src/index.ts";

const MANIFEST = new TextEncoder().encode("{}");
/** Nobody has it: names of this kind are never given away. */
const NAME = "registry.test";

/** A proxy that sends everything to one place, and writes down what it was asked. */
async function startProxy(
  target: () => number,
): Promise<AsyncDisposable & { readonly port: number; readonly asked: string[] }> {
  const asked: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url} ${request.headers["proxy-authorization"] ?? "-"}`);
    const { pathname, search } = new URL(request.url ?? "");
    const headers = new Headers();
    if (request.headers.accept) headers.set("accept", request.headers.accept);
    void fetch(`http://127.0.0.1:${target()}${pathname}${search}`, { method: request.method ?? "GET", headers }).then(
      async (answer) => {
        const body = new Uint8Array(await answer.arrayBuffer());
        response.writeHead(answer.status, Object.fromEntries(answer.headers)).end(body);
      },
    );
  });
  server.on("connect", (request, socket: Socket) => {
    asked.push(`CONNECT ${request.url} ${request.headers["proxy-authorization"] ?? "-"}`);
    const onward = connect(target(), "127.0.0.1", () => {
      socket.write("HTTP/1.1 200 OK\r\n\r\n");
      onward.pipe(socket).pipe(onward);
    });
    for (const each of [socket, onward]) {
      sockets.add(each);
      each.on("error", () => {});
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    // A server that listens on a port has such an address.
    port: (server.address() as AddressInfo).port,
    asked,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.closeAllConnections();
      server.close();
    },
  };
}

interface SecureRegistry extends AsyncDisposable {
  readonly port: number;
  /** What was asked, with the version of HTTP and the name in the client's certificate. */
  readonly asked: string[];
  readonly uploaded: Map<string, number>;
}

/** A registry with one manifest behind TLS, which takes uploads, by HTTP/2 unless the client knows only HTTP/1.1. */
async function startSecure(directory: string, wantsCertificate: boolean): Promise<SecureRegistry> {
  const [cert, key] = await Promise.all(["cert.pem", "key.pem"].map((name) => readFile(join(directory, name))));
  const asked: string[] = [];
  const uploaded = new Map<string, number>();
  const trust = wantsCertificate ? { requestCert: true, rejectUnauthorized: true, ca: cert ?? "" } : {};
  const server = createSecureServer(
    { cert: cert ?? "", key: key ?? "", allowHTTP1: true, ...trust },
    (request, response) => {
      // Of HTTP/2 it is a proxy of the socket, with this method too.
      const peer = (request.stream?.session?.socket ?? request.socket) as TLSSocket;
      const { method, url, httpVersion } = request;
      asked.push(`${httpVersion} ${method} ${peer.getPeerCertificate().subject?.CN ?? "-"}`);
      void Array.fromAsync(request).then((chunks: Uint8Array[]) => {
        const bytes = Buffer.concat(chunks);
        if (method === "POST") response.writeHead(202, { location: "/upload" }).end();
        else if (method === "PUT") {
          uploaded.set(sha256(bytes), bytes.length);
          response.writeHead(201).end();
        } else if (url.includes("/manifests/1")) {
          const headers = { "content-type": MediaType.ociManifest, "content-length": MANIFEST.length };
          response.writeHead(200, { ...headers, "docker-content-digest": sha256(MANIFEST) }).end(MANIFEST);
        } else response.writeHead(404).end();
      });
    },
  );
  const sockets = new Set<Socket>();
  server.on("secureConnection", (socket: Socket) => sockets.add(socket));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    // A server that listens on a port has such an address.
    port: (server.address() as AddressInfo).port,
    asked,
    uploaded,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

describe("connections of RegistryClient", () => {
  let stack: AsyncDisposableStack;
  let registry: FaultRegistry;
  let manifest: Descriptor;
  let directory: string;

  beforeEach(async () => {
    stack = new AsyncDisposableStack();
    registry = stack.use(await startFaultRegistry());
    manifest = registry.add(MANIFEST, MediaType.ociManifest);
    registry.tag("1", manifest);
    directory = stack.use(await temporaryDirectory("connections")).path;
    for (const name of ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"]) {
      vi.stubEnv(name, "");
      vi.stubEnv(name.toLowerCase(), undefined);
    }
  });

  afterEach(async () => {
    vi.unstubAllEnvs();
    await stack.disposeAsync();
  });

  const resolve = async (name: string, toml = "", plainHttp = false): Promise<unknown> => {
    const host = name.replace(/\/.*/, "");
    await mkdir(join(directory, host), { recursive: true });
    await writeFile(join(directory, host, "hosts.toml"), toml);
    await using client = new RegistryClient(plainHttp ? { plainHttp } : { hostDirectories: [directory] });
    return await client.resolve(name).then(
      ({ descriptor }) => descriptor.digest,
      (error: unknown) => codeName(codeOf(error)),
    );
  };
  const portOf = ({ host }: { readonly host: string }): number => Number(host.split(":")[1]);

  it("go through the proxy that hosts.toml names, with its password, and through no other", async () => {
    await using proxy = stack.use(await startProxy(() => portOf(registry)));
    vi.stubEnv("HTTP_PROXY", "http://127.0.0.1:1");
    const own = `server = "http://${NAME}"\nproxy = "http://me:p%40ss@127.0.0.1:${proxy.port}"\n`;
    expect(await resolve(`${NAME}/x:1`, own)).toBe(manifest.digest);
    const password = `Basic ${Buffer.from("me:p@ss").toString("base64")}`;
    expect(proxy.asked).toEqual([`HEAD http://${NAME}/v2/x/manifests/1 ${password}`]);
  });

  it.each(["http://", ""])(
    "go through %jhost:port of the environment, and past it where NO_PROXY says so",
    async (scheme) => {
      await using proxy = stack.use(await startProxy(() => portOf(registry)));
      vi.stubEnv("HTTP_PROXY", `${scheme}127.0.0.1:${proxy.port}`);
      expect(await resolve(`${NAME}/x:1`, "", true)).toBe(manifest.digest);
      expect(proxy.asked).toHaveLength(1);
      vi.stubEnv("NO_PROXY", "other.test, .test");
      expect(await resolve(`${NAME}/x:1`, "", true)).toBe("unavailable");
      expect(proxy.asked).toHaveLength(1);
    },
  );

  it("go past the proxy to what is in a network of NO_PROXY", async () => {
    await using proxy = stack.use(await startProxy(() => portOf(registry)));
    vi.stubEnv("HTTP_PROXY", `http://127.0.0.1:${proxy.port}`);
    // Reaches this machine, and is none of its names.
    const name = `0.0.0.0:${portOf(registry)}/x:1`;
    for (const noProxy of ["10.0.0.0/8", "0.0.0.0/8"]) {
      vi.stubEnv("NO_PROXY", noProxy);
      expect(await resolve(name, "", true)).toBe(manifest.digest);
      expect.soft(proxy.asked, noProxy).toHaveLength(1);
    }
  });

  it("speak TLS through no proxy that is for plain HTTP", async () => {
    await using proxy = stack.use(await startProxy(() => portOf(registry)));
    vi.stubEnv("HTTP_PROXY", `http://127.0.0.1:${proxy.port}`);
    expect(await resolve(`${NAME}/x:1`)).toBe("unavailable");
    expect(proxy.asked).toEqual([]);
    vi.stubEnv("HTTPS_PROXY", `http://127.0.0.1:${proxy.port}`);
    await resolve(`${NAME}/x:1`);
    expect(proxy.asked).toContain(`CONNECT ${NAME}:443 -`);
  });

  it("go through no proxy to this machine", async () => {
    await using proxy = stack.use(await startProxy(() => portOf(registry)));
    vi.stubEnv("HTTP_PROXY", `http://127.0.0.1:${proxy.port}`);
    for (const host of ["127.0.0.1", "localhost", "127.9.9.9", "[::1]"]) {
      await resolve(`${host}:${portOf(registry)}/x:1`);
      expect.soft(proxy.asked, host).toEqual([]);
    }
    expect(registry.requests).toHaveLength(2);
  });

  it("fail with a proxy that is no URL, whose password is not told", async () => {
    vi.stubEnv("HTTP_PROXY", "http://me:s3cret@[");
    await using client = new RegistryClient({ plainHttp: true });
    const error: unknown = await client.resolve(`${NAME}/x:1`).catch((thrown: unknown) => thrown);
    expect(codeName(codeOf(error))).toBe("failed_precondition");
    expect(String(error)).not.toContain("s3cret");
  });

  it("to what speaks no HTTP fail as to nobody", async () => {
    const server = createTcpServer((socket) => socket.on("error", () => {}).end("SSH-2.0-x\r\n"));
    stack.defer(() => void server.close());
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    // A server that listens on a port has such an address.
    expect(await resolve(`127.0.0.1:${(server.address() as AddressInfo).port}/x:1`)).toBe("unavailable");
  });

  it("are used again, also after HEAD", async () => {
    const asked: string[] = [];
    const server = createServer((request, response) => {
      asked.push(request.method ?? "");
      const status = { HEAD: 404, POST: 202, PUT: 201 }[request.method ?? ""] ?? 500;
      request.resume().on("end", () => response.writeHead(status, { location: "/upload" }).end());
    });
    let connections = 0;
    server.on("connection", () => (connections += 1));
    stack.defer(() => server.closeAllConnections());
    stack.defer(() => void server.close());
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const store = new MemoryContentStore();
    await using client = new RegistryClient({ plainHttp: true });
    for (const text of ["one", "two", "three"]) {
      const bytes = new TextEncoder().encode(text);
      const blob = { mediaType: "x/y", digest: sha256(bytes), size: bytes.length };
      await writeBlob(store, text, [bytes], blob);
      // A server that listens on a port has such an address.
      await client.push(`127.0.0.1:${(server.address() as AddressInfo).port}/x:1`, blob, store);
    }
    expect(asked).toEqual(["HEAD", "POST", "PUT", "HEAD", "POST", "PUT", "HEAD", "POST", "PUT"]);
    // A request may come before the connection of the last one is free again.
    expect(connections).toBeLessThanOrEqual(2);
  });

  it("are not used again when HEAD was answered with a body", async () => {
    let connections = 0;
    const head = `HTTP/1.1 200 OK\r\ncontent-type: ${MediaType.ociManifest}\r\ncontent-length: ${MANIFEST.length}\r\ndocker-content-digest: ${manifest.digest}\r\n\r\n`;
    const server = createTcpServer((socket) => {
      connections += 1;
      socket.on("error", () => {}).on("data", () => socket.write(`${head}${new TextDecoder().decode(MANIFEST)}`));
      stack.defer(() => void socket.destroy());
    });
    stack.defer(() => void server.close());
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    await using client = new RegistryClient({ plainHttp: true });
    // A server that listens on a port has such an address.
    const name = `127.0.0.1:${(server.address() as AddressInfo).port}/x:1`;
    for (let round = 1; round <= 3; round += 1) {
      expect((await client.resolve(name)).descriptor.digest).toBe(manifest.digest);
      expect(connections).toBe(round);
    }
  });

  it("speak HTTP/2 where it is offered, through a proxy's tunnel too, and upload by it", async () => {
    await makeCertificate(directory, NAME);
    await using secure = stack.use(await startSecure(directory, false));
    await using proxy = stack.use(await startProxy(() => secure.port));
    const ca = `ca = "${join(directory, "cert.pem")}"\n`;
    expect(await resolve(`127.0.0.1:${secure.port}/x:1`, ca)).toBe(manifest.digest);
    expect(await resolve(`127.0.0.1:${secure.port}/x:1`, `server = "https://127.0.0.1:${secure.port}"\n${ca}`)).toBe(
      manifest.digest,
    );
    expect(await resolve(`${NAME}/x:1`, `${ca}proxy = "http://127.0.0.1:${proxy.port}"\n`)).toBe(manifest.digest);
    expect(proxy.asked).toEqual([`CONNECT ${NAME}:443 -`]);
    expect(secure.asked.slice(-2)).toEqual(["2.0 HEAD -", "2.0 HEAD -"]);
    const bytes = new Uint8Array(5_000_000).map((_, index) => index % 251);
    const store = new MemoryContentStore();
    const blob = { mediaType: "x/y", digest: sha256(bytes), size: bytes.length };
    await writeBlob(store, "x", [bytes], blob);
    await using client = new RegistryClient({ hostDirectories: [directory] });
    expect(await client.push(`127.0.0.1:${secure.port}/x:1`, blob, store)).toBe(true);
    expect([...secure.uploaded]).toEqual([[blob.digest, blob.size]]);
    expect(secure.asked.at(-1)).toBe("2.0 PUT -");
  });

  it("show the certificate of hosts.toml, or of the directory, to who asks for one", async () => {
    await makeCertificate(directory, NAME);
    await using secure = stack.use(await startSecure(directory, true));
    const host = `127.0.0.1:${secure.port}`;
    const server = `server = "https://${host}"\nca = "../cert.pem"\n`;
    expect(await resolve(`${host}/x:1`, server)).not.toBe(manifest.digest);
    expect(await resolve(`${host}/x:1`, `${server}client = [["../cert.pem", "../key.pem"]]\n`)).toBe(manifest.digest);
    const names = { "cert.pem": ["ca.crt", "client.cert"], "key.pem": ["client.key"] };
    for (const [from, to] of Object.entries(names))
      for (const name of to) await writeFile(join(directory, host, name), await readFile(join(directory, from)));
    expect(await resolve(`${host}/x:1`)).toBe(manifest.digest);
    expect(new Set(secure.asked)).toEqual(new Set(["2.0 HEAD tester"]));
    await writeFile(join(directory, host, "lonely.cert"), "");
    expect(await resolve(`${host}/x:1`)).toBe("failed_precondition");
  });

  it.each([
    ["do not believe anybody", "skip_verify = true", false, ["failed_precondition"]],
    [
      "show no certificate",
      `ca = "../cert.pem"\nclient = [["../cert.pem", "../key.pem"]]`,
      true,
      ["failed_precondition", "unavailable"],
    ],
    ["trust its authorities", `ca = "../cert.pem"`, false, [sha256(MANIFEST)]],
  ])("to where a host with settings sends them %s", async (_case, settings, wantsCertificate, expected) => {
    await makeCertificate(directory, NAME);
    await using secure = stack.use(await startSecure(directory, wantsCertificate));
    const location = `https://127.0.0.1:${secure.port}/v2/x/manifests/1`;
    registry.fault = () => ({ kind: "status", status: 307, headers: { location } });
    const host = `127.0.0.1:${portOf(registry)}`;
    expect(expected).toContain(await resolve(`${host}/x:1`, `server = "http://${host}"\n${settings}\n`));
    expect(registry.requests).not.toEqual([]);
  });
});
