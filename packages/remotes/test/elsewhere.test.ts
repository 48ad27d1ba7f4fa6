import { once } from "node:events";
import type { IncomingHttpHeaders } from "node:http";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { writeBlob } from "@berth/core/content";
import type { Logger } from "@berth/core/log";
import { codeName, codeOf } from "@berth/errors";
import type { Descriptor } from "@berth/oci";
import { MediaType, parseDigest } from "@berth/oci";
import type { FaultRegistry, RegistryFault } from "@berth/testing";
import { MemoryContentStore, sha256, startFaultRegistry, temporaryDirectory } from "@berth/testing";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

import type { RegistryOptions } from "../src/index.ts";
import { RegistryClient } from "../src/index.ts";

const BLOB = new Uint8Array(200_000).map((_, index) => index % 251);
const BASIC = { kind: "status", status: 401, headers: { "www-authenticate": "Basic realm=x" } } as const;
const USER = async () => ({ username: "u", secret: "s3cret" });

interface Asked {
  readonly url: string;
  readonly method: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** A server that is no registry, and writes down what it is asked. */
async function startListener(
  answer: (asked: Asked) => {
    readonly status: number;
    readonly headers?: Record<string, string>;
    readonly body?: string;
  },
): Promise<AsyncDisposable & { readonly origin: string; readonly asked: Asked[] }> {
  const asked: Asked[] = [];
  const server = createServer((request, response) => {
    void Array.fromAsync(request).then((chunks) => {
      const { url = "", method = "", headers } = request;
      const one = { url, method, headers, body: Buffer.concat(chunks).toString() };
      asked.push(one);
      const { status, headers: more, body } = answer(one);
      response.writeHead(status, more).end(body);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    // A server that listens on a port has such an address.
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
    },
  };
}

describe("RegistryClient sent elsewhere", () => {
  let stack: AsyncDisposableStack;
  let registry: FaultRegistry;
  let other: FaultRegistry;

  beforeEach(async () => {
    stack = new AsyncDisposableStack();
    registry = stack.use(await startFaultRegistry());
    other = stack.use(await startFaultRegistry());
  });

  afterEach(() => stack.disposeAsync());

  const withHosts = async (toml: string, more: RegistryOptions = {}): Promise<RegistryClient> => {
    const { path } = stack.use(await temporaryDirectory("hosts"));
    await mkdir(join(path, registry.host));
    await writeFile(join(path, registry.host, "hosts.toml"), toml);
    return stack.use(new RegistryClient({ hostDirectories: [path], ...more }));
  };
  const read = async (client: RegistryClient, descriptor: Descriptor): Promise<Uint8Array> =>
    Buffer.concat(await Array.fromAsync(client.fetch(`${registry.host}/x:1`, descriptor)));

  it("fetches from where a descriptor says, telling nobody who asks, and from the registry where that fails", async () => {
    const blob = other.add(BLOB);
    const urls = ["ftp://x/", "http://127.0.0.1:1/", `http://${other.host}/some/where/${blob.digest}`];
    registry.fault = () => BASIC;
    await using client = new RegistryClient({ credentials: USER });
    expect(sha256(await read(client, { ...blob, urls }))).toBe(blob.digest);
    expect(registry.requests).toEqual([]);
    other.fault = () => BASIC;
    registry.fault = undefined;
    registry.add(BLOB);
    expect(sha256(await read(client, { ...blob, urls }))).toBe(blob.digest);
    expect(other.requests.map(({ headers }) => headers.authorization)).toEqual([undefined, undefined]);
  });

  it("goes on at the registry when what is elsewhere breaks off", async () => {
    const blob = other.add(BLOB);
    registry.add(BLOB);
    other.fault = () => ({ kind: "reset", after: 1000 });
    await using client = new RegistryClient();
    const descriptor = { ...blob, urls: [`http://${other.host}/${blob.digest}`] };
    expect(sha256(await read(client, descriptor))).toBe(blob.digest);
    expect(registry.requests.map(({ headers }) => headers.range)).toEqual(["bytes=1000-"]);
  });

  it.each<readonly [string, number, RegistryFault, number]>([
    [
      "a page instead of it",
      0,
      { kind: "status", status: 200, headers: { "content-length": "9" }, body: "not found" },
      0,
    ],
    [
      "a page of unknown length",
      0,
      {
        kind: "status",
        status: 200,
        headers: { "content-type": "text/html; charset=utf-8", "transfer-encoding": "chunked" },
        body: "<html>".repeat(100),
      },
      0,
    ],
    ["nothing", 0, { kind: "truncate", after: 0 }, 0],
    ["another range", 1000, { kind: "wrong-range" }, 1000],
    ["a range of another size", 1000, { kind: "headers", headers: { "content-range": "bytes 0-3/4" } }, 1000],
  ])("fetches from the registry where elsewhere is %s", async (_case, offset, fault, from) => {
    const blob = other.add(BLOB);
    registry.add(BLOB);
    other.fault = () => fault;
    await using client = new RegistryClient();
    const descriptor = { ...blob, urls: [`http://${other.host}/${blob.digest}`] };
    const chunks = await Array.fromAsync(client.fetch(`${registry.host}/x:1`, descriptor, { offset }));
    expect(Buffer.compare(Buffer.concat(chunks), BLOB.subarray(from))).toBe(0);
    expect([other.requests.length, registry.requests.length]).toEqual([1, 1]);
  });

  it("takes no more from elsewhere than there should be", async () => {
    const blob = other.add(BLOB);
    other.fault = () => ({ kind: "endless" });
    await using client = new RegistryClient();
    expect(sha256(await read(client, { ...blob, urls: [`http://${other.host}/${blob.digest}`] }))).toBe(blob.digest);
    expect(registry.requests).toEqual([]);
  });

  it("uploads to where the registry says, without what names the user, be it of hosts.toml", async () => {
    const opened = await fetch(`http://${other.host}/v2/x/blobs/uploads/`, { method: "POST" });
    const location = `http://${other.host}${opened.headers.get("location")}`;
    registry.fault = ({ method }) => (method === "POST" ? { kind: "headers", headers: { location } } : undefined);
    const toml = `server = "http://${registry.host}"\n[header]\nAuthorization = "Bearer hidden"\nx-more = "1"\n`;
    const client = await withHosts(toml);
    const store = new MemoryContentStore();
    const descriptor = { mediaType: "x/y", digest: sha256(BLOB), size: BLOB.length };
    await writeBlob(store, "x", [BLOB], descriptor);
    expect(await client.push(`${registry.host}/x:1`, descriptor, store)).toBe(true);
    expect(registry.requests.map(({ headers }) => headers.authorization)).toEqual(["Bearer hidden", "Bearer hidden"]);
    expect(other.requests.map(({ headers }) => [headers.authorization, headers["x-more"]])).toEqual([
      [undefined, undefined],
      [undefined, "1"],
    ]);
  });

  it("does not send a password after a token server that has moved to another origin", async () => {
    await using thief = await startListener(() => ({ status: 200, body: '{"token":"good"}' }));
    await using tokens = await startListener(() => ({
      status: 307,
      headers: { location: `${thief.origin}/?sig=hidden` },
    }));
    const challenge = `Bearer realm="${tokens.origin}/token"`;
    registry.fault = () => ({ kind: "status", status: 401, headers: { "www-authenticate": challenge } });
    await using client = new RegistryClient({ credentials: USER });
    const error: unknown = await client.resolve(`${registry.host}/x:1`).catch((thrown: unknown) => thrown);
    expect(codeName(codeOf(error))).toBe("failed_precondition");
    expect(String(error)).not.toMatch(/s3cret|hidden/);
    expect(thief.asked).toEqual([]);
  });

  it("tells a token server elsewhere the headers of hosts.toml, but for what names the user", async () => {
    await using tokens = await startListener(() => ({ status: 200, body: '{"token":"good"}' }));
    const manifest = registry.add(new TextEncoder().encode("{}"), MediaType.ociManifest);
    registry.tag("1", manifest);
    registry.fault = ({ headers }) =>
      headers.authorization === "Bearer good"
        ? undefined
        : { kind: "status", status: 401, headers: { "www-authenticate": `Bearer realm="${tokens.origin}/t"` } };
    const toml = `server = "http://${registry.host}"\n[header]\nauthorization = "Basic hidden"\nx-more = "1"\n`;
    const client = await withHosts(toml);
    expect(await client.resolve(`${registry.host}/x:1`)).toMatchObject({ descriptor: manifest });
    expect(tokens.asked.map(({ headers }) => [headers.authorization, headers["x-more"]])).toEqual([[undefined, "1"]]);
  });

  it.each([
    ['{"token":"good"}'],
    ['{"token":"good","expires_in":null,"access_token":null}'],
    ['{"token":null,"access_token":"good","expires_in":0}'],
    ['{"token":"good","expires_in":-1}'],
    ['{"token":"good","issued_at":"yesterday","refresh_token":null}'],
  ])("takes %s for a token that does not end", async (body) => {
    await using tokens = await startListener(() => ({ status: 200, body }));
    registry.tag("1", registry.add(new TextEncoder().encode("{}"), MediaType.ociManifest));
    registry.fault = ({ headers }) =>
      headers.authorization === "Bearer good"
        ? undefined
        : { kind: "status", status: 401, headers: { "www-authenticate": `Bearer realm="${tokens.origin}/t"` } };
    await using client = new RegistryClient();
    for (let round = 0; round < 3; round += 1) await client.resolve(`${registry.host}/x:1`);
    expect(tokens.asked).toHaveLength(1);
  });

  it("knows a host again whose name is written otherwise", async () => {
    const manifest = registry.add(new TextEncoder().encode("{}"), MediaType.ociManifest);
    registry.tag("1", manifest);
    registry.fault = ({ headers }) => (headers.authorization === undefined ? BASIC : undefined);
    await using client = new RegistryClient({ credentials: USER, plainHttp: true });
    const name = `LocalHost:${registry.host.split(":")[1]}/x:1`;
    expect(await client.resolve(name)).toMatchObject({ descriptor: manifest });
    expect(registry.requests.map(({ headers }) => headers.authorization === undefined)).toEqual([true, false]);
  });

  it("does not log what stands in a hosts.toml that cannot be read", async () => {
    const lines: string[] = [];
    const write = (message: string, fields?: object): void => void lines.push(JSON.stringify([message, fields]));
    // Only what is used here.
    const log = { error: write, warn: write, info: write, debug: write } as unknown as Logger;
    const client = await withHosts(`[header]\nauthorization = "Basic c2VjcmV0" oops\n`, { log });
    await client.resolve(`${registry.host}/x:none`).catch(() => {});
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain("line 2");
    expect(lines[0]).not.toContain("c2VjcmV0");
  });

  it("finds referrers by the tag that stands in for the API, of other digests than sha256 too", async () => {
    const subject = { mediaType: MediaType.ociManifest, digest: sha256(BLOB), size: 3, artifactType: "a/b" };
    const index = JSON.stringify({
      schemaVersion: 2,
      mediaType: MediaType.ociIndex,
      manifests: [subject, { ...subject, artifactType: "c/d" }],
    });
    const descriptor = registry.add(new TextEncoder().encode(index), MediaType.ociIndex);
    registry.tag(`sha512-${"a".repeat(64)}`, descriptor);
    registry.tag(`sha256-${"b".repeat(64)}`, descriptor);
    await using client = new RegistryClient();
    for (const digest of [`sha512:${"a".repeat(128)}`, `sha256:${"b".repeat(64)}`].map(parseDigest)) {
      const found = await client.referrers(`${registry.host}/x:1`, digest, { artifactType: "a/b" });
      expect(found).toEqual([subject]);
    }
  });
});
