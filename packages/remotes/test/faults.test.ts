import { once } from "node:events";
import { mkdir, rm, writeFile } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";

import { codeName, codeOf } from "@berth/errors";
import type { Descriptor } from "@berth/oci";
import { MediaType } from "@berth/oci";
import type { FaultRegistry, RegistryFault } from "@berth/testing";
import { sha256, startFaultRegistry, temporaryDirectory } from "@berth/testing";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

import { RegistryClient } from "../src/index.ts";

const BLOB = new Uint8Array(300_000).map((_, index) => index % 251);
const MANIFEST = new TextEncoder().encode(JSON.stringify({ schemaVersion: 2, mediaType: MediaType.ociManifest }));

async function codeOfFailure(promise: Promise<unknown>): Promise<string | undefined> {
  return await promise.then(
    () => undefined,
    (error: unknown) => codeName(codeOf(error)),
  );
}

/** A host that refuses everything, 401 by asking for a password, on a page of its own. */
async function startRefusing(
  status: number,
  sendPage: (response: ServerResponse) => void,
): Promise<AsyncDisposable & { readonly host: string }> {
  const server = createServer((_request, response) => {
    response.writeHead(status, { "www-authenticate": 'Basic realm="x"', "content-type": "text/html" });
    sendPage(response);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    // A server that listens on a port has such an address.
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
    },
  };
}

function dripPage(response: ServerResponse): void {
  const timer = setInterval(() => response.write("x"), 100);
  response.once("close", () => clearInterval(timer));
}

describe("RegistryClient with a registry that fails", () => {
  let stack: AsyncDisposableStack;
  let registry: FaultRegistry;
  let client: RegistryClient;
  let blob: Descriptor;
  let manifest: Descriptor;

  beforeEach(async () => {
    stack = new AsyncDisposableStack();
    registry = stack.use(await startFaultRegistry());
    client = stack.use(new RegistryClient());
    blob = registry.add(BLOB);
    manifest = registry.add(MANIFEST, MediaType.ociManifest);
    registry.tag("1", manifest);
  });

  afterEach(() => stack.disposeAsync());

  const read = async (descriptor: Descriptor): Promise<Uint8Array> =>
    Buffer.concat(await Array.fromAsync(client.fetch(`${registry.host}/x:1`, descriptor)));

  const SUBJECTS = [
    ["blob", () => blob],
    ["manifest", () => manifest],
  ] as const;

  describe.each(SUBJECTS)("download of a %s", (_name, subject) => {
    it.each<readonly [string, RegistryFault]>([
      ["is cut short", { kind: "truncate", after: 20 }],
      ["is reset", { kind: "reset", after: 20 }],
      ["is reset before its first byte", { kind: "reset", after: 0 }],
      ["meets a server that fails", { kind: "status", status: 503 }],
      ["meets a server that is busy", { kind: "status", status: 429, headers: { "retry-after": "0" } }],
      ["meets a server that takes too long for itself", { kind: "status", status: 408 }],
    ])("that %s once is completed", async (_case, fault) => {
      registry.fault = ({ nth, method }) => (nth === 0 && method === "GET" ? fault : undefined);
      expect(sha256(await read(subject()))).toBe(subject().digest);
    });

    it.each<readonly [string, RegistryFault, string]>([
      ["is always reset", { kind: "reset", after: 0 }, "unavailable"],
      ["has no end", { kind: "endless" }, "failed_precondition"],
      ["is not there", { kind: "status", status: 404 }, "not_found"],
      ["is forbidden", { kind: "status", status: 403 }, "permission_denied"],
      [
        "needs a user",
        { kind: "status", status: 401, headers: { "www-authenticate": 'Basic realm="x"' } },
        "unauthenticated",
      ],
      [
        "needs what nobody knows",
        { kind: "status", status: 401, headers: { "www-authenticate": "Wax seal" } },
        "unauthenticated",
      ],
      [
        "comes later than one waits",
        { kind: "status", status: 429, headers: { "retry-after": "3600" } },
        "resource_exhausted",
      ],
    ])("that %s fails", async (_case, fault, code) => {
      registry.fault = () => fault;
      expect(await codeOfFailure(read(subject()))).toBe(code);
    });

    it("goes on where it broke, and not before", async () => {
      registry.fault = ({ nth, method }) =>
        nth === 0 && method === "GET" ? { kind: "truncate", after: 20 } : undefined;
      await read(subject());
      expect(registry.requests.map(({ headers }) => headers.range)).toEqual([undefined, "bytes=20-"]);
    });

    it("from a server that knows no ranges is right", async () => {
      registry.fault = ({ nth }) => (nth === 0 ? { kind: "truncate", after: 20 } : { kind: "ignore-range" });
      expect(sha256(await read(subject()))).toBe(subject().digest);
    });

    it("from a server that sends another range fails", async () => {
      registry.fault = ({ nth }) => (nth === 0 ? { kind: "truncate", after: 20 } : { kind: "wrong-range" });
      expect(await codeOfFailure(read(subject()))).toBe("failed_precondition");
    });

    it("with wrong bytes gives them, for the reader to verify, and no more", async () => {
      registry.fault = () => ({ kind: "corrupt" });
      const bytes = await read(subject());
      expect(bytes.length).toBe(subject().size);
      expect(sha256(bytes)).not.toBe(subject().digest);
    });

    it("that stalls ends when it is cancelled", async () => {
      registry.fault = () => ({ kind: "stall", after: 10 });
      const abort = new AbortController();
      const reading = Array.fromAsync(client.fetch(`${registry.host}/x:1`, subject(), { signal: abort.signal }));
      setTimeout(() => abort.abort(new Error("enough")), 100);
      await expect(reading).rejects.toThrow("enough");
    });

    it("follows redirects, without what is bound to its origin", async () => {
      await using other = await startFaultRegistry();
      other.add(subject() === blob ? BLOB : MANIFEST, subject().mediaType);
      registry.fault = ({ path, headers }) => {
        if (headers.authorization === undefined) {
          return { kind: "status", status: 401, headers: { "www-authenticate": 'Basic realm="x"' } };
        }
        return { kind: "status", status: 307, headers: { location: `http://${other.host}${path}` } };
      };
      await using user = new RegistryClient({ credentials: async () => ({ username: "u", secret: "s" }) });
      const bytes = Buffer.concat(await Array.fromAsync(user.fetch(`${registry.host}/x:1`, subject())));
      expect(sha256(bytes)).toBe(subject().digest);
      expect(other.requests.map(({ headers }) => headers.authorization)).toEqual([undefined]);
    });

    it("that is redirected in a circle fails", async () => {
      registry.fault = ({ path }) => ({ kind: "status", status: 302, headers: { location: path } });
      expect(await codeOfFailure(read(subject()))).toBe("internal");
      expect(registry.requests.length).toBe(11);
    });
  });

  describe("resolve", () => {
    const resolve = async (): Promise<Descriptor> => (await client.resolve(`${registry.host}/x:1`)).descriptor;

    it.each<readonly [string, RegistryFault]>([
      ["a HEAD is not known", { kind: "status", status: 405 }],
      ["no digest is told", { kind: "headers", headers: { "docker-content-digest": "" } }],
      ["a digest is told that is none", { kind: "headers", headers: { "docker-content-digest": "md5:1" } }],
    ])("gives the same when %s", async (_case, fault) => {
      registry.fault = ({ method }) => (method === "HEAD" || fault.kind === "headers" ? fault : undefined);
      expect(await resolve()).toEqual(manifest);
    });

    it("tells why something is forbidden, which only a GET says", async () => {
      registry.fault = () => ({
        kind: "status",
        status: 403,
        body: '{"errors":[{"code":"DENIED","message":"pay first"}]}',
      });
      await expect(resolve()).rejects.toThrow("DENIED: pay first");
    });

    it("refuses images of schema 1", async () => {
      const headers = { "content-type": "application/vnd.docker.distribution.manifest.v1+prettyjws" };
      registry.fault = () => ({ kind: "headers", headers });
      expect(await codeOfFailure(resolve())).toBe("unimplemented");
    });

    it("refuses another digest than the one that was asked for", async () => {
      registry.fault = () => ({ kind: "headers", headers: { "docker-content-digest": blob.digest } });
      expect(await codeOfFailure(client.resolve(`${registry.host}/x@${manifest.digest}`))).toBe("failed_precondition");
    });

    it("takes the next host when a mirror is dead, and says of mirrors' requests whose they are", async () => {
      await using mirror = await startFaultRegistry();
      await using directory = await temporaryDirectory("hosts");
      await mkdir(join(directory.path, registry.host));
      const toml = `server = "http://${registry.host}"\n[host."http://127.0.0.1:1"]\n[host."http://${mirror.host}"]\n`;
      await writeFile(join(directory.path, registry.host, "hosts.toml"), toml);
      await using mirrored = new RegistryClient({ hostDirectories: [directory.path] });
      expect(await mirrored.resolve(`${registry.host}/x:1`)).toMatchObject({ descriptor: manifest });
      expect(mirror.requests.map(({ query }) => query.get("ns"))).toEqual([registry.host]);
      expect(registry.requests.map(({ query }) => query.get("ns"))).toEqual([null]);
    });

    it.each([408, 429])(
      "takes the next host at once when a mirror answers %i, and waits for the last",
      async (status) => {
        await using mirror = await startFaultRegistry();
        await using directory = await temporaryDirectory("hosts");
        await mkdir(join(directory.path, "example.org"));
        const toml = `server = "http://${registry.host}"\n[host."http://${mirror.host}"]\n`;
        await writeFile(join(directory.path, "example.org", "hosts.toml"), toml);
        mirror.fault = () => ({ kind: "status", status, headers: { "retry-after": "60" } });
        registry.fault = ({ nth }) =>
          nth === 0 ? { kind: "status", status, headers: { "retry-after": "0" } } : undefined;
        await using mirrored = new RegistryClient({ hostDirectories: [directory.path] });
        expect(await mirrored.resolve("example.org/x:1")).toMatchObject({ descriptor: manifest });
        expect([mirror.requests.length, registry.requests.length]).toEqual([1, 2]);
      },
    );

    it.each<readonly [number, string]>([
      [429, "is dead"],
      [429, "does not have it"],
      [408, "is dead"],
    ])("asks mirrors that answer %i again when the upstream %s, for content too", async (status, upstream) => {
      await using empty = await startFaultRegistry();
      await using busy = await startFaultRegistry();
      await using directory = await temporaryDirectory("hosts");
      await mkdir(join(directory.path, "example.org"));
      const server = upstream === "is dead" ? "127.0.0.1:1" : empty.host;
      const hosts = [busy, registry].map(({ host }) => `[host."http://${host}"]\n`).join("");
      await writeFile(join(directory.path, "example.org", "hosts.toml"), `server = "http://${server}"\n${hosts}`);
      const fault = { kind: "status", status, headers: { "retry-after": "0" } } as const;
      registry.fault = ({ nth }) => (nth < 2 ? fault : undefined);
      // This one only has not got it.
      busy.fault = ({ nth }) => (nth === 0 ? fault : undefined);
      await using mirrored = new RegistryClient({ hostDirectories: [directory.path] });
      expect(await mirrored.resolve("example.org/x:1")).toMatchObject({ descriptor: manifest });
      const fetched = await Array.fromAsync(mirrored.fetch("example.org/x:1", blob));
      expect(sha256(Buffer.concat(fetched))).toBe(blob.digest);
      const absent = { ...blob, digest: sha256(new Uint8Array(1)) };
      expect(await codeOfFailure(Array.fromAsync(mirrored.fetch("example.org/x:1", absent)))).toBe("not_found");
    });

    it.each<readonly [number, string, (response: ServerResponse) => void]>([
      [401, "pages that are long", (response) => void response.end("x".repeat(1_000_000))],
      [401, "pages that never come", (response) => void response.write("x")],
      [404, "pages that are long", (response) => void response.end("x".repeat(1_000_000))],
      [404, "pages that come for ever", dripPage],
    ])("passes a mirror that answers %i with %s, as often as there is need", async (status, _pages, sendPage) => {
      await using mirror = await startRefusing(status, sendPage);
      await using directory = await temporaryDirectory("hosts");
      await mkdir(join(directory.path, "example.org"));
      const toml = `server = "http://${registry.host}"\n[host."http://${mirror.host}"]\n`;
      await writeFile(join(directory.path, "example.org", "hosts.toml"), toml);
      await using mirrored = new RegistryClient({ hostDirectories: [directory.path] });
      // More than there are connections to one host.
      const readings = Array.from({ length: 12 }, () => Array.fromAsync(mirrored.fetch("example.org/x:1", blob)));
      for (const bytes of await Promise.all(readings)) expect(sha256(Buffer.concat(bytes))).toBe(blob.digest);
    });

    it("reads hosts.toml once, and again after one that was wrong", async () => {
      await using directory = await temporaryDirectory("hosts");
      const file = join(directory.path, "example.org", "hosts.toml");
      await mkdir(join(directory.path, "example.org"));
      await using client = new RegistryClient({ hostDirectories: [directory.path] });
      const resolve = () => client.resolve("example.org/x:1");
      await writeFile(file, `[host."http://${registry.host}"]\nca = "missing.pem"\n`);
      expect(await codeOfFailure(resolve())).toBe("not_found");
      await writeFile(file, `server = "http://${registry.host}"\n`);
      expect(await resolve()).toMatchObject({ descriptor: manifest });
      await rm(directory.path, { recursive: true });
      const bytes = await Array.fromAsync(client.fetch("example.org/x:1", blob));
      expect(sha256(Buffer.concat(bytes))).toBe(blob.digest);
    });
  });
});
