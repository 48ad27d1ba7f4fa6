import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { createServer as createHttpServer } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { createServer } from "node:net";
import { join } from "node:path";

import { writeBlob } from "@berth/core/content";
import { codeName, codeOf } from "@berth/errors";
import type { Descriptor } from "@berth/oci";
import type { FaultRegistry, RegistryFault } from "@berth/testing";
import { MemoryContentStore, sha256, startFaultRegistry, temporaryDirectory } from "@berth/testing";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { RegistryClient } from "../src/index.ts";

/** Undici looks at the clock twice a second, and adds up to a second to waits that are longer. */
const MS = 300;
const SLACK_MS = 3000;
// More than the buffers of a connection take while nobody reads.
const BLOB = new Uint8Array(32 << 20);
const TIMEOUTS = { connectMs: MS, answerMs: MS, progressMs: MS };

describe("RegistryClient with a server that does nothing", { timeout: 30_000 }, () => {
  let stack: AsyncDisposableStack;
  let registry: FaultRegistry;
  let client: RegistryClient;
  let blob: Descriptor;

  beforeEach(async () => {
    stack = new AsyncDisposableStack();
    registry = stack.use(await startFaultRegistry());
    client = stack.use(new RegistryClient({ timeouts: TIMEOUTS }));
    blob = registry.add(BLOB.subarray(0, 200_000));
  });

  afterEach(() => stack.disposeAsync());

  /** How a call ends, and whether it has taken about so many waits. */
  const outcome = async (work: Promise<unknown>, waits: number): Promise<string> => {
    const started = performance.now();
    const code = await work.then(
      () => "ok",
      (error: unknown) => codeName(codeOf(error)),
    );
    const took = performance.now() - started;
    const isInTime = took >= waits * MS * 0.9 && took < waits * (MS + SLACK_MS);
    return isInTime ? code : `${code} after ${took} ms`;
  };
  const resolve = () => client.resolve(`${registry.host}/x:1`);
  const read = () => Array.fromAsync(client.fetch(`${registry.host}/x:1`, blob));
  const always = (fault: RegistryFault): void => {
    registry.fault = () => fault;
  };

  it.each([
    ["as the client has it", TIMEOUTS, ""],
    ["as hosts.toml has it", {}, `dial_timeout = "${MS}ms"`],
  ])("ends what waits for a connection, %s, each of three times", async (_case, timeouts, line) => {
    // Takes connections, and says nothing: who speaks TLS waits for it.
    const sockets = new Set<Socket>();
    const server = createServer((socket) => void sockets.add(socket)).listen(0, "127.0.0.1");
    await once(server, "listening");
    stack.defer(() => void server.close());
    // A server that listens on a port has such an address.
    const { port } = server.address() as AddressInfo;
    const { path } = stack.use(await temporaryDirectory("hosts"));
    await mkdir(join(path, "example.org"));
    await writeFile(join(path, "example.org", "hosts.toml"), `server = "https://127.0.0.1:${port}"\n${line}\n`);
    await using https = new RegistryClient({ timeouts, hostDirectories: [path] });
    expect(await outcome(https.resolve("example.org/x:1"), 3)).toBe("deadline_exceeded");
    expect(sockets.size).toBe(3);
    for (const socket of sockets) socket.destroy();
  });

  it.each([
    ["127.0.0.1", true],
    // This machine too, but no name of it that may be asked by plain HTTP after a silence.
    ["0.0.0.0", false],
  ])("asks %s, which is silent to TLS, without it: %s", async (name, expected) => {
    let isPlain = false;
    const server = createServer((socket) => {
      socket.on("error", () => {});
      socket.on("data", (bytes) => {
        const [first] = bytes;
        // The first byte of a TLS record that shakes hands.
        if (first === 0x16) return;
        isPlain = true;
        socket.end("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
      });
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    stack.defer(() => void server.close());
    // A server that listens on a port has such an address.
    const { port } = server.address() as AddressInfo;
    const { path } = stack.use(await temporaryDirectory("hosts"));
    await mkdir(join(path, "example.org"));
    await writeFile(join(path, "example.org", "hosts.toml"), `server = "http://${name}:${port}"\nskip_verify = true\n`);
    // A proxy of the environment is asked for what is not this machine.
    vi.stubEnv("NO_PROXY", name);
    stack.defer(() => void vi.unstubAllEnvs());
    await using tried = new RegistryClient({ timeouts: TIMEOUTS, hostDirectories: [path] });
    const code = codeName(codeOf(await tried.resolve("example.org/x:1").catch((error: unknown) => error)));
    expect({ code, isPlain }).toEqual({ code: expected ? "not_found" : "deadline_exceeded", isPlain: expected });
  });

  it("is cancelled while it waits for a connection", async () => {
    const server = createServer((socket) => void stack.defer(() => void socket.destroy())).listen(0, "127.0.0.1");
    stack.defer(() => void server.close());
    await once(server, "listening");
    // A server that listens on a port has such an address.
    const { port } = server.address() as AddressInfo;
    const { path } = stack.use(await temporaryDirectory("hosts"));
    await mkdir(join(path, "example.org"));
    await writeFile(join(path, "example.org", "hosts.toml"), `server = "https://127.0.0.1:${port}"\n`);
    const controller = new AbortController();
    server.once("connection", () => controller.abort(new Error("no longer wanted")));
    const started = performance.now();
    {
      await using waiting = new RegistryClient({ hostDirectories: [path] });
      const { signal } = controller;
      await expect(waiting.resolve("example.org/x:1", { signal })).rejects.toThrow("no longer wanted");
    }
    expect(performance.now() - started).toBeLessThan(10_000);
  });

  it("ends what waits for the headers of an answer, each of three times", async () => {
    always({ kind: "silence" });
    expect(await outcome(resolve(), 3)).toBe("deadline_exceeded");
    expect(registry.requests).toHaveLength(3);
  });

  it("ends a download that stalls, after it was begun again as often as it may", async () => {
    registry.fault = ({ nth }) => ({ kind: "stall", after: nth === 0 ? 10 : 0 });
    expect(await outcome(read(), 4)).toBe("deadline_exceeded");
  });

  it("completes a download that stalled once", async () => {
    registry.fault = ({ nth }) => (nth === 0 ? { kind: "stall", after: 100_000 } : undefined);
    expect(await outcome(read(), 1)).toBe("ok");
    expect(registry.requests.map(({ headers }) => headers.range)).toEqual([undefined, "bytes=100000-"]);
  });

  it("completes an upload that stalled once", async () => {
    const store = new MemoryContentStore();
    const descriptor = { mediaType: "x/y", digest: sha256(BLOB), size: BLOB.length };
    await writeBlob(store, "x", [BLOB], descriptor);
    registry.fault = ({ method, nth }) =>
      method === "PUT" && nth === 0 ? { kind: "stall", after: 1_000_000 } : undefined;
    expect(await outcome(client.push(`${registry.host}/x:1`, descriptor, store), 1)).toBe("ok");
    expect(registry.find(descriptor.digest)).toHaveLength(BLOB.length);
  });

  it("ends what waits for a token server", async () => {
    await using tokens = await startFaultRegistry();
    tokens.fault = () => ({ kind: "silence" });
    const challenge = { "www-authenticate": `Bearer realm="http://${tokens.host}/token"` };
    always({ kind: "status", status: 401, headers: challenge });
    expect(await outcome(resolve(), 1)).toBe("deadline_exceeded");
  });

  describe("and a token server that goes on and on", () => {
    let asked: Promise<unknown>;
    let requests: number;

    beforeEach(async () => {
      requests = 0;
      const server = createHttpServer((_request, response) => {
        requests += 1;
        const timer = setInterval(() => response.write(" "), MS / 10);
        response.once("close", () => clearInterval(timer));
      }).listen(0, "127.0.0.1");
      asked = once(server, "request");
      await once(server, "listening");
      stack.defer(() => {
        server.closeAllConnections();
        server.close();
      });
      // A server that listens on a port has such an address.
      const { port } = server.address() as AddressInfo;
      const challenge = { "www-authenticate": `Bearer realm="http://127.0.0.1:${port}/token"` };
      always({ kind: "status", status: 401, headers: challenge });
    });

    it("ends the wait for it", async () => {
      await using patient = new RegistryClient({ timeouts: { tokenMs: MS } });
      expect(await outcome(patient.resolve(`${registry.host}/x:1`), 1)).toBe("deadline_exceeded");
    });

    it("waits for it once, and not for each blob", async () => {
      await using patient = new RegistryClient({ timeouts: { tokenMs: MS } });
      for (let blobs = 0; blobs < 3; blobs += 1) {
        const fetching = Array.fromAsync(patient.fetch(`${registry.host}/x:1`, blob));
        expect(codeName(codeOf(await fetching.catch((error: unknown) => error)))).toBe("deadline_exceeded");
      }
      expect(requests).toBe(1);
    });

    it("is cancelled, and only for who cancels", async () => {
      await using patient = new RegistryClient({ timeouts: { tokenMs: 5 * MS } });
      const controller = new AbortController();
      const { signal } = controller;
      // The first to ask is the one in whose name the token is fetched.
      const cancelled = patient.resolve(`${registry.host}/x:1`, { signal });
      const other = outcome(patient.resolve(`${registry.host}/x:1`), 5);
      await asked;
      controller.abort(new Error("no longer wanted"));
      await expect(Promise.race([cancelled, other])).rejects.toThrow("no longer wanted");
      expect(await other).toBe("deadline_exceeded");
    });
  });
});
